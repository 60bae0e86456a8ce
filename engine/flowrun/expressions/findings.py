"""What analysis speaks: findings, reads, and a walk over contract fields that remembers where it came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from msgspec import Struct

from flowrun.contract import Field, FieldType, Shape
from flowrun.diagnostics import Severity, near
from flowrun.errors import ExpressionError


class Finding(Struct, frozen=True):
    """One mistake in one expression; offset and length in characters of its text (length 0: to the end)."""

    code: str
    message: str
    offset: int
    length: int
    severity: Severity = "error"
    help: str = ""
    notes: tuple[str, ...] = ()
    label: str = ""


class PathRead(Struct, frozen=True):
    """A path that the expression reads. path: keys, places, and "*" for each element of a list
    (``order.items[*].sku`` → ``("items", "*", "sku")``). field: its contract, type "any" when unknown."""

    name: str
    path: tuple[str | int, ...]
    offset: int
    length: int
    field: Field


class Analysis(Struct, frozen=True):
    """result: the type of the value. projects: it is a list made by a projection, which drops nulls."""

    result: Field
    findings: tuple[Finding, ...]
    reads: tuple[PathRead, ...]
    projects: bool = False


ANY = Field("")


def plain(kind: FieldType) -> Field:
    return Field("", kind)


def list_of(item: Field) -> Field:
    return Field("", "list", item=item)


def object_of(fields: Iterable[tuple[str, Field]]) -> Field:
    named = {name: replace(inner, name=name) for name, inner in fields}
    return Field("", "object", shape=Shape("", named))


class Typed(Struct, frozen=True):
    """A value's type and, when it was read from a name, where. text: it is JSON text although a number by contract."""

    field: Field = ANY
    name: str = ""
    path: tuple[str | int, ...] = ()
    text: bool = False

    @property
    def json(self) -> str:
        """ "string", "number", "boolean", "array", "object" or "any"."""
        if self.text:
            return "string"
        return _JSON.get(self.field.type, "any")

    def spelled(self) -> str:
        out = self.name
        for part in self.path:
            out += f"[{part}]" if part == "*" or isinstance(part, int) else f".{part}"
        return out


_JSON: Mapping[str, str] = {
    "text": "string", "date": "string", "datetime": "string", "time": "string", "integer": "number",
    "decimal": "number", "boolean": "boolean", "object": "object", "list": "array",
}  # fmt: skip

WORDS = {"array": "a list", "object": "an object", "string": "text", "number": "a number", "boolean": "a boolean"}


@dataclass
class Findings:
    """Collects findings and reads while an expression's tree is walked."""

    scope: Mapping[str, Field]
    found: list[Finding] = field(default_factory=list)
    reads: list[PathRead] = field(default_factory=list)

    def add(self, code: str, message: str, offset: int, length: int, **more: Any) -> None:
        self.found.append(Finding(code, message, offset, length, **more))

    def caught(self, error: ExpressionError) -> None:
        self.add(error.code, error.message, error.offset, error.length, help=error.help)

    def scope_note(self) -> str:
        rules = [name for name, kind in self.scope.items() if kind.type == "boolean"]
        others = [name for name in self.scope if name not in rules]
        text = ", ".join(others)
        if rules:
            text += (", and " if others else "") + ("the rules " if len(rules) > 1 else "the rule ") + ", ".join(rules)
        return f"in scope here: {text}" if text else "nothing is in scope here"

    def unknown_name(self, name: str, offset: int, length: int, *, alone: bool = False) -> None:
        mean = near(name, self.scope)
        label = f"did you mean {mean!r}?" if mean else ""
        help = f"a constant is written {{ value: {name} }}" if alone and not mean else ""
        self.add("FR104", f"unknown name {name!r}", offset, length, label=label, help=help, notes=(self.scope_note(),))

    def root(self, name: str, offset: int, length: int) -> Typed:
        kind = self.scope[name]
        self.reads.append(PathRead(name, (), offset, length, kind))
        return Typed(kind, name)

    def step(self, at: Typed, part: str, offset: int, length: int, *, help: str = "") -> Typed:
        """Read one field; finds a field that the contract does not have."""
        kind, path = at.field, (*at.path, part)
        inner, text = ANY, False
        if kind.type == "object" and kind.shape is not None:
            known = kind.shape.get(part)
            if known is None:
                self._unknown_field(at, kind.shape, part, offset, length, help)
            else:
                inner, text = known, kind.shape.text_numbers and known.type == "decimal"
        elif kind.type == "list":
            self.add(
                "FR108",
                f"{at.spelled() or 'the value'} is a list and has no field {part!r}",
                offset,
                length,
                help=help or f"one element: [0].{part}; all of them: [*].{part}; a target row for each: each … in …",
            )
        elif kind.type not in ("any", "object"):
            self.add(
                "FR108",
                f"{at.spelled() or 'the value'} is {WORDS[at.json]} and has no field {part!r}",
                offset,
                length,
                help=help,
            )
        return self._reached(at, path, offset, length, inner, text)

    def _unknown_field(self, at: Typed, shape: Shape, part: str, offset: int, length: int, help: str) -> None:
        mean = near(part, shape.fields)
        label = f"did you mean {mean!r}?" if mean else ""
        some = ", ".join(list(shape.fields)[:12]) + (", …" if len(shape.fields) > 12 else "")
        notes: tuple[str, ...] = () if mean or not some else (f"it has: {some}",)
        if shape.source:
            notes = (*notes, f"known from {shape.source}")
        where = at.spelled() or "the element"
        self.add(
            "FR108" if shape.closed else "FR109",
            f"{where} has no field {part!r}" if shape.closed else f"{where} was never seen with a field {part!r}",
            offset,
            length,
            severity="error" if shape.closed else "lint",
            label=label,
            help=help,
            notes=notes,
        )

    def element(self, at: Typed, part: str | int, offset: int, length: int) -> Typed:
        """One element of a list (``part`` a place, or "*" for each)."""
        inner = at.field.item if at.field.type == "list" and at.field.item is not None else ANY
        return self._reached(at, (*at.path, part), offset, length, inner, at.text)

    def _reached(
        self, at: Typed, path: tuple[str | int, ...], offset: int, length: int, inner: Field, text: bool
    ) -> Typed:
        if at.name:
            self.reads = [read for read in self.reads if (read.name, read.path) != (at.name, at.path)]
            self.reads.append(PathRead(at.name, path, offset, length, inner))
        return Typed(inner, at.name, path, text)


def union(a: Typed, b: Typed) -> Typed:
    """What is certain of a value that is one or the other."""
    if a.field.type == b.field.type:
        return Typed(a.field if a.field == b.field else plain(a.field.type), text=a.text and b.text)
    return Typed()
