"""Which paths of the record a flow reads, and where in its text each is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as File

from flowrun.contract import Field
from flowrun.diagnostics import Span
from flowrun.expressions import PathRead, analyse, parse
from flowrun.flow.model import (
    Each,
    Expr,
    FieldMap,
    First,
    Flow,
    Items,
    Key,
    Nested,
    Value,
    conditions_of,
    maps_of,
    targets_of,
)

ROW = "[]"
Path = tuple[str, ...]
"""Into the record; ``[]`` stands for each row of a list."""
Names = Mapping[str, Path | None]
"""What names stand for; None: nothing of the record, or not certainly."""
_ANY = Field("")


@dataclass(frozen=True, slots=True)
class Place:
    """used: for what, as ``map.SoldToParty``, ``vars.total``, ``rule big_order``. start, end: the characters of the
    path's last field in the file; None where they cannot be counted with certainty. field: the target's contract,
    where the value goes there as it is."""

    path: Path
    used: str
    file: str
    line: int
    start: int | None = None
    end: int | None = None
    lookup: str = ""
    field: Field | None = None


def places_of(flow: Flow, root: File) -> list[Place]:
    """In file order. root: the project's, for the texts."""
    found = sorted(_Walk(flow, root).all(), key=lambda one: (one.file, one.line, one.start or 0))
    return list(dict.fromkeys(found))


def spelled(record: str, path: Path) -> str:
    return record + "".join(part if part == ROW else f".{part}" for part in path)


class _Walk:
    def __init__(self, flow: Flow, root: File) -> None:
        self.flow = flow
        self.record = "group" if flow.source.group_by is not None else flow.source.record
        self._root = root
        self._texts: dict[str, str] = {}

    def all(self) -> Iterator[Place]:
        flow, source = self.flow, self.flow.source
        names: Names = {self.record: ()}
        if source.only_when is not None:
            yield from self.expr(source.only_when, names, "only_when")
        if source.group_by is None:
            for used, value in (("key", source.key), ("version", source.version), ("order", source.keep_order_by)):
                if value is not None:
                    yield from self.value(value, names, used)
        for requirement in flow.require:
            yield from self.expr(requirement.rule, names, "require")
        for rule in flow.rules:
            yield from self.expr(rule.when, names, f"rule {rule.name}")
        for var in flow.vars:
            yield from self.value(var.value, names, f"vars.{var.name}")
        for fields in maps_of(flow.steps) if flow.steps else (flow.map,):
            yield from self.map(fields, names, "map")
        for condition in conditions_of(flow.steps):
            yield from self.expr(condition, names, "when")
        for target in targets_of(flow.steps) if flow.steps else (flow.target,):
            if target.idempotency_key is not None:
                yield from self.value(target.idempotency_key, names, "idempotency key")
            for save in target.save:
                yield from self.value(save.source_id, names, f"save {save.xref}")

    def map(self, fields: FieldMap, names: Names, used: str) -> Iterator[Place]:
        for one in fields.fields:
            yield from self.value(one.value, names, f"{used}.{'.'.join(one.path)}", one.contract)

    def value(self, value: Value, names: Names, used: str, field: Field | None = None) -> Iterator[Place]:
        if value.when is not None:
            yield from self.expr(value.when, names, used)
        if value.default is not None:
            yield from self.value(value.default, names, used)
        origin, lookup = value.origin, value.lookup or ""
        as_it_is = field if not lookup and not value.converters else None
        if isinstance(origin, Expr):
            plain = as_it_is if origin.language == "jmespath" else None
            yield from self.expr(origin, names, used, lookup, plain)
        elif isinstance(origin, First):
            for case in origin.cases:
                if case.when is not None:
                    yield from self.expr(case.when, names, used)
                yield from self.value(case.value, names, used, as_it_is)
        elif isinstance(origin, Each):
            yield from self.expr(origin.items, names, used)
            inner = {**names, origin.name: self._rows(origin.items, names)}
            if origin.where is not None:
                yield from self.expr(origin.where, inner, used)
            yield from self.map(origin.map, inner, used)
        elif isinstance(origin, Nested):
            bound: dict[str, Path | None] = dict(names)
            for name, one in origin.bindings:
                yield from self.value(one, names, used)
                bound[name] = self._stands_for(one, names)
            yield from self.map(origin.map, bound, used)
        elif isinstance(origin, Items):
            for item in origin.values:
                yield from self.value(item, names, used)
        elif isinstance(origin, Key):
            for part in origin.parts:
                yield from self.value(part, names, used)

    def expr(
        self, expr: Expr, names: Names, used: str, lookup: str = "", field: Field | None = None
    ) -> Iterator[Place]:
        for read in self._reads(expr, names):
            base = names.get(read.name)
            path = _inside(base, read) if base is not None else ()
            if path:
                yield self._place(path, read, expr, used, lookup, field)

    def _place(self, path: Path, read: PathRead, expr: Expr, used: str, lookup: str, field: Field | None) -> Place:
        text = self._text(expr.span)
        start = expr.span.start + read.offset
        exact = text[expr.span.start : expr.span.end] == expr.text
        exact = exact and text[start : start + read.length] == str(read.path[-1])
        line = text.count("\n", 0, start) + 1 if exact else expr.span.line
        begin, end = (start, start + read.length) if exact else (None, None)
        return Place(path, used, expr.span.file, line, begin, end, lookup, field)

    def _text(self, span: Span) -> str:
        if span.file not in self._texts:
            try:
                with (self._root / span.file).open(encoding="utf-8-sig", newline="") as file:
                    self._texts[span.file] = file.read()
            except (OSError, UnicodeDecodeError):
                self._texts[span.file] = ""
        return self._texts[span.file]

    def _reads(self, expr: Expr, names: Names) -> tuple[PathRead, ...]:
        parsed = parse(expr.language, expr.text)
        return analyse(parsed, {**{use.name: _ANY for use in parsed.names}, **dict.fromkeys(names, _ANY)}).reads

    def _rows(self, expr: Expr, names: Names) -> Path | None:
        """What one row of a list stands for: of one path, up to its first projection."""
        bases = {
            _before_rows(_inside(base, read)) if (base := names.get(read.name)) is not None else None
            for read in self._reads(expr, names)
        }
        found = bases.pop() if len(bases) == 1 else None
        return (*found, ROW) if found else None

    def _stands_for(self, value: Value, names: Names) -> Path | None:
        if not isinstance(value.origin, Expr) or value.lookup is not None or value.converters:
            return None
        reads = self._reads(value.origin, names)
        base = names.get(reads[0].name) if len(reads) == 1 else None
        return _inside(base, reads[0]) if base is not None else None


def _inside(base: Path, read: PathRead) -> Path:
    return (*base, *(ROW if part == "*" or isinstance(part, int) else part for part in read.path))


def _before_rows(path: Path) -> Path:
    return path[: path.index(ROW)] if ROW in path else path
