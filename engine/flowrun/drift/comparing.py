"""Two profiles: what changed of the paths that a flow reads, beyond what chance does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from math import sqrt
from typing import Any

from flowrun.drift.findings import Finding, Kind, Shown
from flowrun.drift.profile import Profile, Stat, values_at
from flowrun.drift.reads import ROW, Path, Place, spelled
from flowrun.masking import MASKED

FEWEST = 20  # records, before and now, from which anything is said
SURE = 3.0  # standard deviations
CODES_MOST, CODES_EACH = 40, 5  # different values, and how often each on average, that look like a set of codes
ALIKE = 0.6  # of two names, from which one may be the other
SHARED = 0.5  # of values or fields, from which one may be the other
WIDER = 10  # times the largest number seen
_WIDTH = 60  # characters of a value that are shown


@dataclass(frozen=True, slots=True)
class Limits:
    """share: of recent records (or rows) from which a change counts."""

    share: float = 0.05


@dataclass(frozen=True, slots=True)
class Records:
    """Keys and records, as they may be shown, beside their profile."""

    profile: Profile
    keys: Sequence[str]
    shown: Sequence[Any]


def compare_profiles(
    name: str, places: Iterable[Place], old: Records, new: Records, limits: Limits, secret: Iterable[Path] = ()
) -> list[Finding]:
    """name: of the record. secret: paths whose values are not told. [] where there are too few records."""
    if min(old.profile.records, new.profile.records) < FEWEST:
        return []
    return list(_Compared(name, places, old, new, limits, frozenset(secret)).all())


class _Compared:
    def __init__(
        self, name: str, places: Iterable[Place], old: Records, new: Records, limits: Limits, secret: frozenset[Path]
    ) -> None:
        self.name, self.old, self.new, self.limits, self.secret = name, old, new, limits, secret
        self.reads: dict[Path, list[Place]] = {}
        for place in places:
            for depth in range(1, len(place.path) + 1):
                if place.path[depth - 1] != ROW:
                    self.reads.setdefault(place.path[:depth], []).append(place)

    def all(self) -> Iterator[Finding]:
        broken: list[Path] = []
        for path in sorted(self.reads, key=len):
            if any(path[: len(above)] == above for above in broken):
                continue  # told with what holds it
            found = [*self._absent(path), *self._type(path)]
            if found:
                broken.append(path)
            yield from found
            if not found:
                yield from self._values(path)

    # -- there or not ----------------------------------------------------------------------------------------------

    def _absent(self, path: Path) -> Iterator[Finding]:
        before, now = self.old.profile.share(path), self.new.profile.share(path)
        if before is None or now is None:
            return
        objects = self.new.profile.objects[path[:-1]]
        if self._beyond(before, now, objects):
            other = self._taken_by(path)
            words = f"in {_percent(now)} of {self._what(path)}, before in {_percent(before)}"
            kind: Kind = "renamed" if other else "gone"
            to = f"; '{other}' is there instead" if other else ""
            after = self._holder(path, other)
            yield self._finding(
                kind, path, f"{spelled(self.name, path)} is there {words}{to}", before - now, self._first(path), after,
                renamed_to=other,
            )  # fmt: skip
            return
        one, other_ = self.old.profile.stats.get(path), self.new.profile.stats.get(path)
        if one is None or other_ is None or not one.present or not other_.present:
            return
        was, is_ = 1 - one.nulls / one.present, 1 - other_.nulls / other_.present
        if self._beyond(was, is_, other_.present):
            words = f"{spelled(self.name, path)} is null in {_percent(1 - is_)} of {self._what(path)}"
            words += f", before in {_percent(1 - was)}"
            yield self._finding(
                "null", path, words, was - is_, self._first(path), self._at(self.new, other_.first_null, path)
            )

    def _beyond(self, before: float, now: float, count: int) -> bool:
        """Fewer by the share that counts, and by more than chance does."""
        edge = 1 / max(2, min(count, self.old.profile.records))
        even = min(max(before, edge), 1 - edge)
        return before - now >= self.limits.share and before - now > SURE * sqrt(even * (1 - even) / max(1, count))

    def _taken_by(self, path: Path) -> str:
        """The new field beside it that looks most like it; "" where none does."""
        old, best, found = self.old.profile.stats[path], 0.0, ""
        fallen = (self.old.profile.share(path) or 0) - (self.new.profile.share(path) or 0)
        for other, stat in self.new.profile.stats.items():
            risen = (self.new.profile.share(other) or 0) - (self.old.profile.share(other) or 0)
            if other[:-1] != path[:-1] or other == path or risen < fallen / 2:
                continue
            if set(stat.kinds) & set(old.kinds) or not old.kinds:
                score = self._likeness(path, old, other, stat)
                if score > best:
                    best, found = score, other[-1]
        return found

    def _likeness(self, path: Path, old: Stat, other: Path, new: Stat) -> float:
        names = SequenceMatcher(None, _bare(path[-1]), _bare(other[-1])).ratio()
        below, below_new = (
            {one[len(at) :] for one in profile.stats if one[: len(at)] == at and len(one) > len(at)}
            for profile, at in ((self.old.profile, path), (self.new.profile, other))
        )
        if below:
            same = len(below & below_new) / len(below)
        else:
            same = len(set(old.values) & set(new.values)) / max(1, len(new.values))
        return names + same if names >= ALIKE or same >= SHARED else 0.0

    # -- what it is ------------------------------------------------------------------------------------------------

    def _type(self, path: Path) -> Iterator[Finding]:
        old, new = self.old.profile.stats.get(path), self.new.profile.stats.get(path)
        if old is None or new is None or not sum(old.kinds.values()):
            return
        count = sum(new.kinds.values())
        for kind, times in new.kinds.items():
            was = old.kinds[kind] / sum(old.kinds.values())
            if self._beyond(1 - was, 1 - times / count, count):
                usual = old.kinds.most_common(1)[0][0]
                often = f"in {_percent(times / count)} of {self._what(path)}"
                words = f"{spelled(self.name, path)} is {kind} {often}, before {usual}"
                yield self._finding(
                    "type",
                    path,
                    words,
                    times / count - was,
                    self._first(path),
                    self._at(self.new, new.of_kind[kind], path),
                )

    def _values(self, path: Path) -> Iterator[Finding]:
        old, new = self.old.profile.stats.get(path), self.new.profile.stats.get(path)
        if old is None or new is None or not new.present:
            return
        fresh = [value for value in new.values if value not in old.values]
        codes = not old.open and 0 < len(old.values) <= CODES_MOST
        if (
            fresh
            and codes
            and not new.open
            and old.values.total() >= CODES_EACH * len(old.values)
            and self._open_to_codes(path)
        ):
            times = sum(new.values[value] for value in fresh)
            told = MASKED if self._is_secret(path) else ", ".join(repr(value) for value in fresh[:5])
            words = f"{spelled(self.name, path)} holds {told}, which was never there before"
            yield self._finding(
                "code", path, words, times / new.present, self._first(path),
                self._at(self.new, new.of_value[fresh[0]], path), codes=tuple((value,) for value in fresh),
            )  # fmt: skip
        yield from self._length(path, old, new)
        yield from self._range(path, old, new)

    def _is_secret(self, path: Path) -> bool:
        return any(path[: len(one)] == one for one in self.secret)

    def _open_to_codes(self, path: Path) -> bool:
        """Numbers that are measured have new values all the time."""
        return not all(_is_decimal(value) for value in self.old.profile.stats[path].values)

    def _length(self, path: Path, old: Stat, new: Stat) -> Iterator[Finding]:
        places = [
            one for one in self.reads[path]
            if one.path == path and one.field is not None and one.field.max_length is not None
            and old.longest <= one.field.max_length < new.longest
        ]  # fmt: skip
        if places:
            most = min(one.field.max_length or 0 for one in places if one.field is not None)
            words = f"{spelled(self.name, path)} has up to {new.longest} characters, before {old.longest}"
            words += f"; the target takes {most}"
            after = self._at(self.new, new.of_longest, path)
            yield self._finding(
                "length", path, words, 1 / new.present, self._at(self.old, old.of_longest, path), after, places=places
            )

    def _range(self, path: Path, old: Stat, new: Stat) -> Iterator[Finding]:
        if old.lowest is None or old.highest is None or new.lowest is None or new.highest is None:
            return
        if new.lowest < 0 <= old.lowest:
            words = f"{spelled(self.name, path)} is below zero, which it never was"
            yield self._finding(
                "range",
                path,
                words,
                1 / new.present,
                self._at(self.old, old.of_lowest, path),
                self._at(self.new, new.of_lowest, path),
            )
        elif old.highest > 0 and new.highest > WIDER * old.highest and old.open is new.open:
            words = f"{spelled(self.name, path)} is more than {WIDER} times what it ever was"
            yield self._finding(
                "range",
                path,
                words,
                1 / new.present,
                self._at(self.old, old.of_highest, path),
                self._at(self.new, new.of_highest, path),
            )

    # -- words -----------------------------------------------------------------------------------------------------

    def _finding(
        self, kind: Kind, path: Path, words: str, share: float, before: Shown | None, after: Shown | None,
        *, places: Sequence[Place] | None = None, **more: Any,
    ) -> Finding:  # fmt: skip
        hurt = tuple(dict.fromkeys(self.reads[path] if places is None else places))
        return Finding(kind, spelled(self.name, path), words, share, before, after, hurt, **more)

    def _what(self, path: Path) -> str:
        return "recent rows" if ROW in path else "recent records"

    def _first(self, path: Path) -> Shown | None:
        stat = self.old.profile.stats.get(path)
        return self._at(self.old, stat.first if stat is not None else -1, path)

    def _at(self, side: Records, index: int, path: Path) -> Shown | None:
        if index < 0:
            return None
        found = list(values_at(side.shown[index], path))
        return Shown(side.keys[index], f"{path[-1]}: {_short(found[0])}" if found else f"no {path[-1]}")

    def _holder(self, path: Path, other: str) -> Shown | None:
        """A recent record without the field, and what has its place."""
        for index, record in enumerate(self.new.shown):
            for holder in values_at(record, path[:-1]):
                if isinstance(holder, Mapping) and path[-1] not in holder and (not other or other in holder):
                    text = f"{other}: {_short(holder[other])}" if other else f"no {path[-1]}"
                    return Shown(self.new.keys[index], text)
        return None


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        text = "{" + ", ".join(map(str, value)) + "}"
    else:
        text = (
            f"[{len(value)} rows]"
            if isinstance(value, list)
            else "null"
            if value is None
            else repr(value)
            if isinstance(value, str)
            else str(value)
        )
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"


def _percent(share: float) -> str:
    return f"{share:.0%}" if 0.01 <= share <= 0.99 or share in (0, 1) else f"{share:.1%}"


def _bare(name: str) -> str:
    return "".join(char for char in name.casefold() if char.isalnum())


def _is_decimal(text: str) -> bool:
    return "." in text and text.replace(".", "", 1).lstrip("-").isdigit()
