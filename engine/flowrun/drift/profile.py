"""What records look like, path by path: how often a field is there, null, of which type; its values, lengths, range."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from flowrun.drift.reads import ROW, Path

MOST_PATHS = 2000
MOST_VALUES = 200  # different ones of one field; beyond it is no set of codes
MOST_ROWS = 200  # of one list in one record
DEEPEST = 30
LONGEST_CODE = 40  # characters


@dataclass(slots=True)
class Stat:
    """Of one path. first: the index of a record that has it; of_value, of_kind: of a record with that value or type.
    lowest, highest: of numbers, also as text."""

    present: int = 0
    nulls: int = 0
    first: int = -1
    first_null: int = -1
    kinds: Counter[str] = field(default_factory=Counter)
    of_kind: dict[str, int] = field(default_factory=dict)
    values: Counter[str] = field(default_factory=Counter)
    of_value: dict[str, int] = field(default_factory=dict)
    open: bool = False  # it has more values than a set of codes
    longest: int = 0
    of_longest: int = -1
    lowest: Decimal | None = None
    highest: Decimal | None = None
    of_highest: int = -1
    of_lowest: int = -1


@dataclass(slots=True)
class Profile:
    """objects: path → how many objects were there, each of which could have had the fields below it;
    first_object: the index of a record with one."""

    records: int = 0
    stats: dict[Path, Stat] = field(default_factory=dict)
    objects: Counter[Path] = field(default_factory=Counter)
    first_object: dict[Path, int] = field(default_factory=dict)

    def share(self, path: Path) -> float | None:
        """How often the field is there, of the objects that could have it; None where there was none."""
        objects = self.objects[_above(path)]
        stat = self.stats.get(path)
        return (stat.present if stat is not None else 0) / objects if objects else None


def profile_of(records: Sequence[Mapping[str, Any]]) -> Profile:
    made = Profile(len(records))
    for index, record in enumerate(records):
        _look(made, record, (), index)
    return made


def _above(path: Path) -> Path:
    return path[:-1]


def _look(made: Profile, value: Any, path: Path, index: int) -> None:
    if len(path) > DEEPEST:
        return
    if isinstance(value, Mapping):
        made.objects[path] += 1
        made.first_object.setdefault(path, index)
        for name, inner in value.items():
            at = (*path, str(name))
            if at not in made.stats and len(made.stats) >= MOST_PATHS:
                continue
            _count(made.stats.setdefault(at, Stat()), inner, index)
            _look(made, inner, at, index)
    elif isinstance(value, list):
        at = (*path, ROW)
        for inner in value[:MOST_ROWS]:
            _look(made, inner, at, index)


def _count(stat: Stat, value: Any, index: int) -> None:
    stat.present += 1
    if stat.first < 0:
        stat.first = index
    if value is None:
        stat.nulls += 1
        stat.first_null = index if stat.first_null < 0 else stat.first_null
        return
    kind = kind_of(value)
    stat.kinds[kind] += 1
    stat.of_kind.setdefault(kind, index)
    if kind in ("a list", "an object"):
        return
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if len(text) > stat.longest:
        stat.longest, stat.of_longest = len(text), index
    if len(text) <= LONGEST_CODE and (text in stat.values or len(stat.values) < MOST_VALUES):
        stat.values[text] += 1
        stat.of_value.setdefault(text, index)
    else:
        stat.open = True
    number = _number(value)
    if number is not None:
        if stat.lowest is None or number < stat.lowest:
            stat.lowest, stat.of_lowest = number, index
        if stat.highest is None or number > stat.highest:
            stat.highest, stat.of_highest = number, index


def kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | Decimal):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "an object" if isinstance(value, Mapping) else "a list"


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or (isinstance(value, str) and (len(value) > 40 or not value.strip())):
        return None
    try:
        found = Decimal(value) if isinstance(value, str | int | Decimal) else None
    except InvalidOperation:
        return None
    return found if found is not None and found.is_finite() else None


def values_at(record: Any, path: Path) -> Iterable[Any]:
    """What stands at a path of one record."""
    found: list[Any] = [record]
    for part in path:
        if part == ROW:
            found = [row for one in found if isinstance(one, list) for row in one]
        else:
            found = [one[part] for one in found if isinstance(one, Mapping) and part in one]
    return found
