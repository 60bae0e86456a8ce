"""Personal fields as others see them: ``***`` in their place, in what was made of them, and in words that quote them.

Nothing here changes what is delivered. Pure: values in, values out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

from msgspec.structs import replace

from flowrun.errors import ProjectError
from flowrun.expressions import parse
from flowrun.flow.model import Each, Expr, FieldMap, First, Flow, Items, Key, Nested, Value

MASKED = "***"
ROW = "[]"  # in a path: every row of a list
_WHOLE = 4  # characters from which a value is masked inside words, too
_CUT = 37  # characters of a long text that messages quote (``expressions.runtime.show``)
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d*|\*)\]")
_PLAIN = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*|\[(\d*|\*)\])*")
_QUOTED = re.compile(
    r"(?P<word>\b(?:lookup|connection|converter|rule|object|xref|environment) )?(?:'[^']*'|\"[^\"]*\")"
)
Path = tuple[str, ...]


def path_of(text: str) -> Path:
    """``items[].note``, ``items[0].note`` → ``("items", "[]", "note")``."""
    return tuple(name or ROW for name, _ in _STEP.findall(text))


class Mask:
    """Of one flow. paths: into the record. made: paths into the body of what is made of them."""

    def __init__(
        self, paths: Iterable[Path], made: Iterable[Path] = (), names: Mapping[str, bool] | None = None
    ) -> None:
        """names: whether a variable, as explanations name it, is made of what is masked."""
        self.paths = frozenset(paths)
        self._made = frozenset(made)
        self._names = dict(names or {})

    def __bool__(self) -> bool:
        return bool(self.paths)

    def hides(self, field: str) -> bool:
        """Whether a target path, or a variable, is made of what is masked, or holds such a field, or lies in one."""
        path = _without_rows(path_of(field))
        return self._names.get(field, False) or any(_meets(path, _without_rows(one)) for one in self._made)

    # -- whole values ----------------------------------------------------------------------------------------------

    def record(self, payload: Any) -> Any:
        """The values of masked fields are masked in all others, too."""
        return _words_covered(_covered(payload, self.paths), self._pattern(payload, None)) if self else payload

    def body(self, body: Any, payload: Any = None) -> Any:
        """payload: of the record it was made of, whose masked values are masked wherever they stand."""
        if not self or body is None:
            return body
        words = self._pattern(payload, None)
        return _words_covered(_covered(body, self._made), words)

    def value(self, field: str, value: Any) -> Any:
        """One value of a target path."""
        return _all_covered(value) if self and self.hides(field) else value

    def text(self, text: str, payload: Any, body: Any = None, field: str = "") -> str:
        """Words without the values that are masked in this record and in what was made of it. field: that the words
        are about; of a masked one nothing that is quoted stays."""
        if not self or not text:
            return text
        if field and self.hides(field):
            text = _QUOTED.sub(lambda found: found.group(0) if found.group("word") else f"'{MASKED}'", text)
        pattern = self._pattern(payload, body)
        return pattern.sub(MASKED, text) if pattern else text

    def row(self, row: Any) -> Any:
        """A record of the store, as it may be shown."""
        if not self:
            return row
        field = row.error_field or ""
        return replace(
            row, payload=self.record(row.payload), body=self.body(row.body, row.payload),
            error_field=self.text(field, row.payload, row.body) or row.error_field,
            error_message=self.text(row.error_message or "", row.payload, row.body, field) or row.error_message,
            error_help=self.text(row.error_help or "", row.payload, row.body, field) or row.error_help,
        )  # fmt: skip

    def step(self, words: str, field: str, payload: Any, body: Any = None) -> str:
        """A line of an explanation: of a field that is made of what is masked, only what was done is told."""
        if not self:
            return words
        if self.hides(field) and not words.startswith(("when ", "constant ")):
            head, mark, _ = words.partition(": " if words.startswith(("as ", "lookup ")) else " = ")
            words = f"{head}{mark}{MASKED}" if mark else head
        elif words.startswith("read ") and self.reads(words[5:].partition(" = ")[0]):
            words = f"{words.partition(' = ')[0]} = {MASKED}"
        return self.text(words, payload, body)

    def reads(self, name: str) -> bool:
        """Whether a path as expressions write it, with its name before it, may end in what is masked."""
        path = path_of(name)[1:]
        return any(one[-len(path) :] == path for one in self.paths) if path else False

    # -- back again ------------------------------------------------------------------------------------------------

    def restored(self, masked: Any, original: Any) -> Any:
        """A record that was shown masked and comes back corrected: what still stands as it was shown is what it was.

        Raises ProjectError when that is not certain: rows were added or taken away around it, or words beside it.
        """
        return _restored(masked, self.record(original), original, "")

    # -- helpers ---------------------------------------------------------------------------------------------------

    def _pattern(self, payload: Any, body: Any) -> re.Pattern[str] | None:
        """What matches any of the masked values, the longest first; in whatever letter case."""
        values = {*_texts(_under(payload, self.paths)), *_texts(_under(body, self._made))} - {MASKED}
        spelt = {form for value in values for form in (value, repr(value)[1:-1], repr(value[:_CUT])[1:-1]) if form}
        parts = [
            re.escape(one) if len(one) >= _WHOLE else rf"(?<!\w){re.escape(one)}(?!\w)"
            for one in sorted(spelt, key=len, reverse=True)
        ]
        return re.compile("|".join(parts), re.IGNORECASE) if parts else None


def mask_of(flow: Flow) -> Mask:
    """From the flow's ``privacy`` and the project's."""
    return _made_for(_Known(flow)) if flow.mask else _NONE


_NONE = Mask(())


class _Known:
    """A flow, told from others by what decides its mask."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self._id = (flow.name, flow.hash, flow.mask, id(flow.map))  # the steps of a workflow share the rest

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Known) and other._id == self._id

    def __hash__(self) -> int:
        return hash(self._id)


@lru_cache(maxsize=64)
def _made_for(known: _Known) -> Mask:
    flow = known.flow
    tracing = _Tracing(flow)
    names = {f"vars.{name}": masked for name, masked in tracing.variables.items()}
    return Mask(flow.mask, tracing.made(flow.map, {}, ()), names)


class _Tracing:
    """Which target fields are made of masked ones. Where it is not certain, they are.

    A name stands for a path into the record, or for True: made of what is masked, False: not.
    """

    def __init__(self, flow: Flow) -> None:
        self._masks = flow.mask
        self._root = "group" if flow.source.group_by is not None else flow.source.record
        self.variables: dict[str, bool] = {var.name: True for var in flow.vars}
        for _ in flow.vars:  # they may stand in any order: until nothing changes
            self.variables = {var.name: self._is_masked(var.value, {}) for var in flow.vars}

    def made(self, fields: FieldMap, names: Mapping[str, Path | bool], at: Path) -> Iterator[Path]:
        for one in fields.fields:
            yield from self._of(one.value, names, (*at, *one.path))

    def _of(self, value: Value, names: Mapping[str, Path | bool], at: Path) -> Iterator[Path]:
        origin = value.origin
        if value.lookup is not None or value.converters or not isinstance(origin, Nested | Each | Items):
            if self._is_masked(value, names):
                yield at
        elif isinstance(origin, Nested):
            yield from self.made(origin.map, self._bound(origin, names), at)
        elif isinstance(origin, Each):
            yield from self.made(origin.map, self._row(origin, names), (*at, ROW))
        else:
            for item in origin.values:
                yield from self._of(item, names, (*at, ROW))
        if value.default is not None and self._is_masked(value.default, names):
            yield at

    def _is_masked(self, value: Value, names: Mapping[str, Path | bool]) -> bool:
        if value.default is not None and self._is_masked(value.default, names):
            return True
        origin = value.origin
        if isinstance(origin, Expr):
            return any(self._met(path) for path in self._reads(origin, names))
        if isinstance(origin, First):
            return any(self._is_masked(case.value, names) for case in origin.cases)
        if isinstance(origin, Items):
            return any(self._is_masked(item, names) for item in origin.values)
        if isinstance(origin, Key):
            return any(self._is_masked(part, names) for part in origin.parts)
        if isinstance(origin, Each):
            return any(self.made(origin.map, self._row(origin, names), ()))
        if isinstance(origin, Nested):
            return any(self.made(origin.map, self._bound(origin, names), ()))
        return False

    def _bound(self, origin: Nested, names: Mapping[str, Path | bool]) -> dict[str, Path | bool]:
        return {**names, **{name: self._stands_for(value, names) for name, value in origin.bindings}}

    def _row(self, origin: Each, names: Mapping[str, Path | bool]) -> dict[str, Path | bool]:
        found = self._plain(origin.items, names)
        if found is None:
            inexact = any(self._met(path) for path in self._reads(origin.items, names))
            return {**names, origin.name: inexact}
        return {**names, origin.name: (*found, ROW) if isinstance(found, tuple) and found[-1:] != (ROW,) else found}

    def _stands_for(self, value: Value, names: Mapping[str, Path | bool]) -> Path | bool:
        if isinstance(value.origin, Expr) and value.lookup is None and not value.converters and value.default is None:
            found = self._plain(value.origin, names)
            if found is not None:
                return found
        return self._is_masked(value, names)

    def _plain(self, expr: Expr, names: Mapping[str, Path | bool]) -> Path | bool | None:
        """What an expression that is only a path stands for; None when it is more."""
        text = expr.text.strip()
        if expr.language == "template":
            text = text[2:-2].strip() if text.startswith("{{") and text.endswith("}}") else ""
        return self._resolved(path_of(text), names) if _PLAIN.fullmatch(text) else None

    def _reads(self, expr: Expr, names: Mapping[str, Path | bool]) -> Iterator[Path | bool]:
        plain = self._plain(expr, names)
        if plain is not None:
            yield plain
            return
        for use in parse(expr.language, expr.text).names:
            steps = (use.name, *(ROW if isinstance(part, int) else part for part in use.path))
            yield self._resolved(steps, names)

    def _resolved(self, path: Path, names: Mapping[str, Path | bool]) -> Path | bool:
        first, rest = path[0], path[1:]
        if first in names:
            stands = names[first]
            return (*stands, *rest) if isinstance(stands, tuple) else stands
        if first == self._root:
            return rest
        if first == "vars":
            return self.variables.get(rest[0], False) if rest else any(self.variables.values())
        return False

    def _met(self, path: Path | bool) -> bool:
        return any(_meets(path, one) for one in self._masks) if isinstance(path, tuple) else path


def _without_rows(path: Path) -> Path:
    return tuple(part for part in path if part != ROW)


def _meets(one: Path, other: Path) -> bool:
    """One path leads to the other, or into it."""
    return all(a == b for a, b in zip(one, other, strict=False))


def _covered(value: Any, paths: Iterable[Path]) -> Any:
    for path in paths:
        value = _cover(value, path)
    return value


def _cover(value: Any, path: Path) -> Any:
    if not path:
        return _all_covered(value)
    if isinstance(value, dict) and path[0] in value:
        return {**value, path[0]: _cover(value[path[0]], path[1:])}
    if isinstance(value, list) and path[0] == ROW:
        return [_cover(one, path[1:]) for one in value]
    return value


def _all_covered(value: Any) -> Any:
    """Every plain value inside; that there is none shows."""
    if isinstance(value, dict):
        return {name: _all_covered(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_all_covered(inner) for inner in value]
    return value if value is None or value == "" or repr(value) == "absent" else MASKED


def _restored(new: Any, shown: Any, original: Any, where: str) -> Any:
    if isinstance(new, dict):
        seen, before = (one if isinstance(one, dict) else {} for one in (shown, original))
        return {
            name: _restored(value, seen.get(name), before.get(name), f"{where}.{name}" if where else str(name))
            for name, value in new.items()
        }
    if isinstance(new, list):
        rows, were = (one if isinstance(one, list) else [] for one in (shown, original))
        if len(were) != len(new):
            if any(isinstance(one, str) and MASKED in one for one in _leaves(new)):
                raise ProjectError(
                    f"'{where}' has {len(new)} rows instead of {len(were)}: whose {MASKED} is whose is not certain",
                    help="write the values themselves, or leave the rows as they were",
                )
            return new
        return [_restored(one, rows[n], were[n], f"{where}[{n}]") for n, one in enumerate(new)]
    if new == shown:
        return original
    if isinstance(new, str) and MASKED in new:
        raise ProjectError(
            f"'{where}' is {new}, and there is no value that it stands for",
            help=f"write the value itself, or leave it as it was shown: {MASKED}",
        )
    return new


def _words_covered(value: Any, pattern: re.Pattern[str] | None) -> Any:
    if pattern is None:
        return value
    if isinstance(value, dict):
        return {name: _words_covered(inner, pattern) for name, inner in value.items()}
    if isinstance(value, list):
        return [_words_covered(inner, pattern) for inner in value]
    return pattern.sub(MASKED, value) if isinstance(value, str) else value


def _under(value: Any, paths: Iterable[Path]) -> Iterator[Any]:
    """What stands at the paths."""
    for path in paths:
        found: Sequence[Any] = [value]
        for part in path:
            if part == ROW:
                found = [row for one in found if isinstance(one, list) for row in one]
            else:
                found = [one[part] for one in found if isinstance(one, dict) and part in one]
        yield from found


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value


def _texts(values: Iterable[Any]) -> Iterator[str]:
    for one in _leaves(list(values)):
        if isinstance(one, str) and one.strip():
            yield one.strip()
        elif isinstance(one, int | Decimal) and not isinstance(one, bool):
            yield str(one)
