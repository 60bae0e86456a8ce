"""Values of a flow as lines of the generated function. One emitter for both modes: fast, and explain.

A value ends in a local that holds what is sent, or ABSENT when the field is left out. Errors are raised where they
happen; the line's place (span and target path) tells the field, at no cost per record.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Final

from flowrun.contract import Field
from flowrun.diagnostics import Span
from flowrun.errors import DataError
from flowrun.expressions import Code, emit, parse
from flowrun.expressions.converters import as_text, converter
from flowrun.expressions.runtime import BadValue, show
from flowrun.expressions.to_contract import canonical, fitter
from flowrun.flow.model import (
    ConverterCall,
    Each,
    Expr,
    FieldMap,
    FieldMapping,
    First,
    Items,
    Key,
    Literal_,
    Lookup,
    Nested,
    OnMiss,
    Origin,
    Value,
)
from flowrun.lookups import MISS

_BRACES = re.compile(
    r"\{%.*%\}|\{\{.*?\}\}|\{#.*?#\}", re.DOTALL
)  # greedy over statements: what stands inside may be left out
ABSENT: Final[Any] = type("Absent", (), {"__repr__": lambda self: "ABSENT", "__slots__": ()})()
Names = Mapping[str, str]
Path = tuple[str, ...]
"""Parts of a target path: text, or ``@local`` for the length of the list that local holds."""


class SkipRecord(Exception):
    """A lookup said on_miss: skip."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def no_value(what: str) -> None:
    raise BadValue(f"{what} has no value", help="write default: … or optional: true, or correct the record")


def no_row(name: str, key: Any) -> None:
    shown = ", ".join(show(part) for part in key) if isinstance(key, tuple) else show(key)
    raise BadValue(f"{name} has no row for {shown}", help=f"add the row, or change on_miss of lookup '{name}'")


def not_a_list(value: Any, what: str) -> None:
    from flowrun.expressions.runtime import kind

    raise BadValue(f"{what} is {kind(value)}, not a list")


def too_few(count: int, least: int, what: str) -> None:
    raise BadValue(f"{what} has {count} row{'s' * (count != 1)}; at least {least} are needed")


class ValueEmitter:
    """text_numbers: the target's decimals travel as text. lookups: the flow's tables by name."""

    def __init__(self, code: Code, lookups: Mapping[str, Lookup], *, text_numbers: bool) -> None:
        self.code = code
        self.lookups = lookups
        self.text_numbers = text_numbers
        self.paths: dict[int, tuple[Span, Path]] = {}  # id of the span that a line carries → its target path

    # -- places ----------------------------------------------------------------------------------------------------

    def at(self, span: Span, path: Path) -> AbstractContextManager[None]:
        """Lines emitted inside speak for this place. Each place has a span object of its own, because one fragment's
        line serves several target paths."""
        own = replace(span)
        self.paths[id(own)] = (own, path)
        return self.code.at(own)

    def fn(self, function: Any, hint: str = "f") -> str:
        return self.code.bind(function, hint)

    def expr(self, expr: Expr, names: Names) -> str:
        return emit(parse(expr.language, expr.text), self.code, names)

    def local(self, text: str, hint: str = "v") -> str:
        name = self.code.temp(hint)
        self.code.line(f"{name} = {text}")
        return name

    def trace(self, call: str) -> None:
        if self.code.explain:
            self.code.line(f"trace.{call}")

    # -- objects ---------------------------------------------------------------------------------------------------

    def object(self, fields: FieldMap, names: Names, path: Path) -> str:
        """Emit a map; returns the local of its dict."""
        built = []
        for name, one in _tree(fields):
            here = (*path, ("." if path else "") + name)
            if isinstance(one, FieldMapping):
                local, sure = self.field(one, names, here)
            else:
                local, sure = self.object(one, names, here), False
                self.code.line(f"{local} = {local} or {self.fn(ABSENT, 'absent')}")
            built.append((name, local, sure))
        first = next((i for i, (_, _, sure) in enumerate(built) if not sure), len(built))
        result = self.code.temp("o")
        pairs = ", ".join(f"{self.code.bind(name)}: {local}" for name, local, _ in built[:first])
        self.code.line(f"{result} = {{{pairs}}}")
        for name, local, sure in built[first:]:
            if sure:
                self.code.line(f"{result}[{self.code.bind(name)}] = {local}")
            else:
                with self.code.block(f"if {local} is not {self.fn(ABSENT, 'absent')}:"):
                    self.code.line(f"{result}[{self.code.bind(name)}] = {local}")
        return result

    def field(self, one: FieldMapping, names: Names, path: Path) -> tuple[str, bool]:
        """Emit a target field; returns (local, whether it is always there)."""
        with self.at(one.value.span, path):
            self.trace(f"begin({self.path_text(path)}, {self.fn(one.span, 'span')})")
            local, sure = self.value(one.value, names, path, one.contract)
            self.trace(f"end({local})")
        return local, sure

    def path_text(self, path: Path) -> str:
        """Python text of the target path with its indices."""
        parts = [f"str(len({part[1:]}))" if part.startswith("@") else repr(part) for part in path]
        joined = []
        for part, text in zip(path, parts, strict=True):
            joined.append(f"'[' + {text} + ']'" if part.startswith("@") else text)
        return " + ".join(joined)

    # -- one value -------------------------------------------------------------------------------------------------

    def value(
        self, value: Value, names: Names, path: Path, contract: Field | None, *, raw: bool = False
    ) -> tuple[str, bool]:
        """Emit a value; returns (local, whether it always has a value). raw: no contract step (variables, keys):
        the value keeps its own type, and a missing optional one is None."""
        if value.when is not None:
            result = self.local("None" if raw else self.fn(ABSENT, "absent"), "w")
            held = self.expr(value.when, names)
            self.trace(f"condition({self.fn(value.when.text)}, {held})")
            with self.code.block(f"if {held}:"):
                local, _ = self._always_or_none(value, names, path, contract, raw)
                self.code.line(f"{result} = {local}")
            return result, False
        return self._always_or_none(value, names, path, contract, raw)

    def _always_or_none(
        self, value: Value, names: Names, path: Path, contract: Field | None, raw: bool
    ) -> tuple[str, bool]:
        """A variable or a key that a list or an object would leave out is None, as any other that is missing."""
        local, sure = self._always(value, names, path, contract, raw)
        return (self._none_when_absent(local), False) if raw and not sure else (local, sure)

    def _always(self, value: Value, names: Names, path: Path, contract: Field | None, raw: bool) -> tuple[str, bool]:
        origin = value.origin
        if isinstance(origin, Literal_) and not value.converters and value.lookup is None:
            return self._constant(origin.value, contract, raw), True
        plain = not value.converters and value.default is None and not value.null_send
        if isinstance(origin, Nested) and value.lookup is None and plain:
            local = self._nested(origin, names, path)
            return local, False
        if isinstance(origin, Each):
            return self._each(value, origin, names, path, contract, raw)
        if isinstance(origin, Items) and plain:
            # Like a loop: a list whose every item was left out by its ``when`` is left out itself.
            listed = self._origin(origin, names, path, contract)
            return self.local(f"{self.fn(ABSENT, 'absent')} if {listed} is None else {listed}"), False
        found = self._origin(origin, names, path, contract)
        v = self.local(found)  # a name of its own: the value read may be shared, this one is changed
        if value.default is None and not value.optional and not value.null_send:
            return self._required(value, v, names, path, contract, raw)
        self._convert(value, v, names, path)
        return self._finish(value, v, names, path, contract, raw)

    def _required(
        self, value: Value, v: str, names: Names, path: Path, contract: Field | None, raw: bool
    ) -> tuple[str, bool]:
        """The straight way of a value that must be there: each test fails at once, so nothing is tested twice."""
        missing = f"{self.fn(no_value)}({self.fn(_said(value))})"
        if not _never_blank(value.origin):
            with self.code.block(f"if {f'{v} is None' if value.keep_blank else self._blank(v)}:"):
                self.code.line(missing)
        if value.lookup is not None:
            self._lookup(self.lookups[value.lookup], v, names, path)
            with self.code.block(f"if {f'{v} is None' if value.keep_blank else self._blank(v)}:"):
                self.code.line(missing)
        keeps = True
        for call in value.converters:
            self._call(call, v)
            keeps = call.name in _KEEPS_TEXT or call.of.gives in _NEVER_BLANK or (call.of.gives is None and keeps)
        if not keeps and not value.keep_blank:
            with self.code.block(f"if {self._blank(v)}:"):
                self.code.line(missing)
        if not raw:
            fitted = self._fitted(value, v, contract)
            if fitted:
                self.code.line(f"{v} = {fitted}")
        return v, True

    def _fitted(self, value: Value, v: str, contract: Field | None) -> str:
        """The contract step as an expression; "" when there is nothing to do."""
        fit = fitter(contract, self.text_numbers)
        if fit is None or (fit is canonical and not _dated(value)):
            return ""
        call = f"{self.fn(fit, 'fit')}({v})"
        if fit is canonical:
            return f"{v} if type({v}) is str else {call}"
        if contract is not None and contract.type == "text" and not contract.enum:
            room = f" and len({v}) <= {contract.max_length}" if contract.max_length is not None else ""
            return f"{v} if type({v}) is str{room} else {call}"
        return call

    def _constant(self, constant: Any, contract: Field | None, raw: bool) -> str:
        if constant is not None and not raw:
            fit = fitter(contract, self.text_numbers)
            try:
                constant = fit(constant) if fit else constant
            except DataError as error:  # the checker finds these; a contract of another version may not have
                return self.local(f"{self.fn(_raise, 'raise')}({self.fn(error, 'error')})")
        local = self.local(self.fn(constant, "constant"))
        self.trace(f"constant({local})")
        return local

    def _origin(self, origin: Any, names: Names, path: Path, contract: Field | None) -> str:
        if isinstance(origin, Expr):
            found = self.expr(origin, names)
            if origin.language != "jmespath":
                self.trace(f"computed({self.fn(origin.text)}, {found})")
            return found
        if isinstance(origin, Literal_):
            return self.fn(origin.value, "constant")
        if isinstance(origin, First):
            return self._first(origin, names, path)
        if isinstance(origin, Nested):
            return self._none_when_absent(self._nested(origin, names, path))
        if isinstance(origin, Key):
            return self._key(origin, names, path)
        assert isinstance(origin, Items)
        inner = contract.item if contract is not None and contract.type == "list" else None
        items = [self.value(one, names, (*path, f"[{i}]"), inner) for i, one in enumerate(origin.values)]
        if all(sure for _, sure in items):
            return self.local(f"[{', '.join(local for local, _ in items)}]")
        listed = ", ".join(local for local, _ in items)
        return self.local(f"[x for x in ({listed},) if x is not {self.fn(ABSENT, 'absent')}] or None")

    def _none_when_absent(self, local: str) -> str:
        return self.local(f"None if {local} is {self.fn(ABSENT, 'absent')} else {local}")

    def _nested(self, origin: Nested, names: Names, path: Path) -> str:
        inner = dict(names)
        for name, bound in origin.bindings:
            inner[name], _ = self.value(bound, names, path, None, raw=True)
        local = self.object(origin.map, inner, path)
        self.code.line(f"{local} = {local} or {self.fn(ABSENT, 'absent')}")
        return local

    def _key(self, origin: Key, names: Names, path: Path) -> str:
        parts = []
        for part in origin.parts:
            local, _ = self.value(replace(part, optional=True), names, path, None, raw=True)
            parts.append(local)
        tests = " or ".join(f"{p} is None" for p in parts)
        if len(parts) == 1:
            return parts[0]
        text = self.fn(as_text, "as_text")
        made = ", ".join(f"{p} if type({p}) is str else {text}({p})" for p in parts)
        return self.local(f"None if {tests} else ({made},)")

    def _first(self, origin: First, names: Names, path: Path) -> str:
        result = self.code.temp("first")
        with self.code.block("for _ in '1':"):  # a block that break leaves
            for case in origin.cases:
                if case.when is None:
                    self._case(case.value, names, path, result)
                    break
                held = self.expr(case.when, names)
                self.trace(f"condition({self.fn(case.when.text)}, {held})")
                with self.code.block(f"if {held}:"):
                    self._case(case.value, names, path, result)
                    self.code.line("break")
        return result

    def _case(self, value: Value, names: Names, path: Path, result: str) -> None:
        with self.at(value.span, path):
            local, sure = self.value(
                replace(value, optional=value.optional or value.default is None), names, path, None, raw=True
            )
            self.code.line(
                f"{result} = {local}"
                if sure
                else f"{result} = None if {local} is {self.fn(ABSENT, 'absent')} else {local}"
            )

    # -- lists -----------------------------------------------------------------------------------------------------

    def _each(
        self, value: Value, origin: Each, names: Names, path: Path, contract: Field | None, raw: bool
    ) -> tuple[str, bool]:
        items = self.expr(origin.items, names)
        rows, row = self.code.temp("rows"), self.code.temp("row")
        what = self.fn(origin.items.text)
        self.code.line(f"{rows} = []")
        inner = {**names, origin.name: row}
        with self.code.block(f"if {items} is not None:"):
            with self.code.block(f"if type({items}) is not list:"):
                self.code.line(f"{self.fn(not_a_list)}({items}, {what})")
            self.code.line(f"fuel.spend(len({items}) + 1)")
            counter = ""
            if origin.number:
                counter = self.local("0", "n")
                inner[origin.number] = counter
            with self.code.block(f"for {row} in {items}:"):
                if origin.where is not None:
                    held = self.expr(origin.where, {k: v for k, v in inner.items() if k != origin.number})
                    with self.code.block(f"if not {held}:"):
                        self.code.line("continue")
                if counter:
                    self.code.line(f"{counter} += 1")
                    self.code.remember(counter, (), counter, "number")
                made = self.object(origin.map, inner, (*path, f"@{rows}"))
                self.code.line(f"{rows}.append({made})")
        if origin.at_least:
            with self.code.block(f"if len({rows}) < {origin.at_least}:"):
                self.code.line(f"{self.fn(too_few)}(len({rows}), {origin.at_least}, {what})")
        sure = bool(origin.at_least) or origin.keep_empty
        if value.converters or value.default is not None or value.null_send:
            found = rows if sure else self.local(f"{rows} or None")
            self._convert(value, found, names, path)
            return self._finish(replace(value, optional=True), found, names, path, contract, raw)
        return (rows, True) if sure else (self.local(f"{rows} or {self.fn(ABSENT, 'absent')}"), False)

    # -- lookup, converters, no value, contract --------------------------------------------------------------------

    def _blank(self, v: str) -> str:
        return f"{v} is None or (type({v}) is str and (not {v} or {v}.isspace()))"

    def _convert(self, value: Value, v: str, names: Names, path: Path) -> None:
        """Lookup and converters, for a value that is there; afterwards None in ``v`` means there is none."""
        if value.lookup is None and not value.converters:
            if not value.keep_blank:
                with self.code.block(f"if {self._blank(v)}:"):
                    self.code.line(f"{v} = None")
            return
        test = f"{v} is None" if value.keep_blank else self._blank(v)
        with self.code.block(f"if {test}:"):
            self.code.line(f"{v} = None")
        with self.code.block("else:"):
            if value.lookup is not None:
                self._lookup(self.lookups[value.lookup], v, names, path)
            for call in value.converters:
                guard = self.code.block(f"if {v} is not None:") if value.lookup is not None else None
                if guard is None:
                    self._call(call, v)
                else:
                    with guard:
                        self._call(call, v)
            last = value.converters[-1].of.gives if value.converters else "text"
            if not value.keep_blank and last not in _NEVER_BLANK:
                with self.code.block(f"if {self._blank(v)}:"):
                    self.code.line(f"{v} = None")

    def _call(self, converted: ConverterCall, v: str) -> None:
        name, args = converted.name, converted.args
        before = self.local(v, "before") if self.code.explain else v
        made = converted.of.make(*args) if converted.of.source else converter(name, args)
        fast = _INLINE.get(name)
        call = f"{self.fn(made, name)}({v})"
        self.code.line(
            f"{v} = {fast.format(v=v, call=call, arg=int(args[0]) if args else 0)}" if fast else f"{v} = {call}"
        )
        self.trace(f"converted({' '.join((name, *args))!r}, {before}, {v})")

    def _lookup(self, lookup: Lookup, v: str, names: Names, path: Path) -> None:
        text = self.fn(as_text, "as_text")
        key = self.code.temp("key")
        if len(lookup.key_columns) > 1:
            self.code.line(f"{key} = {v}")
        else:
            self.code.line(f"{key} = {v} if type({v}) is str else {text}({v})")
        if lookup.kind in ("table", "file"):
            rows: dict[Any, str | None] = {k[0] if len(k) == 1 else k: row for k, row in lookup.rows.items()}
            if lookup.trim or lookup.ignore_case:
                self.code.line(f"{key} = {self.fn(_normal(lookup.trim, lookup.ignore_case), 'normal')}({key})")
            table = self.fn(rows, "table")
            named = f"look.table({self.code.bind(lookup.name)}, {table})"
            self.code.line(f"{v} = ({named} if look.tables else {table}).get({key}, {self.fn(MISS, 'miss')})")
        else:
            self.code.line(f"{v} = look.get({self.code.bind(lookup.name)}, {key})")
        self.trace(f"looked_up({self.fn(lookup, 'lookup')}, {key}, {v})")
        with self.code.block(f"if {v} is {self.fn(MISS, 'miss')}:"):
            self._miss(lookup, lookup.on_miss, key, v, names, path)

    def _miss(self, lookup: Lookup, on_miss: OnMiss, key: str, v: str, names: Names, path: Path) -> None:
        if on_miss.action == "error":
            self.code.line(f"{self.fn(no_row)}({self.code.bind(lookup.name)}, {key})")
        elif on_miss.action == "skip":
            self.code.line(f"raise {self.fn(SkipRecord, 'skip')}({self.code.bind(lookup.name)})")
        else:
            if on_miss.warn:
                self.code.line(f"warnings.append({self.fn(_warned, 'warned')}({self.code.bind(lookup.name)}, {key}))")
            assert on_miss.use is not None
            local, _ = self.value(replace(on_miss.use, optional=True), names, path, None, raw=True)
            self.code.line(f"{v} = {local}")
            self.trace(f"default({v}, {self.code.bind('on_miss.use of ' + lookup.name)})")

    def _finish(
        self, value: Value, v: str, names: Names, path: Path, contract: Field | None, raw: bool
    ) -> tuple[str, bool]:
        """What no value means; else the contract's type."""
        fitted = "" if raw else self._fitted(value, v, contract)
        sure = True
        with self.code.block(f"if {v} is None:"):
            if value.default is not None:
                self._default(value.default, v, names, path, contract, raw)
            elif value.null_send:
                self.trace("default(None, 'null: send')")
            elif value.optional:
                sure = False
                if raw:
                    self.code.line(f"{v} = None")
                else:
                    self.code.line(f"{v} = {self.fn(ABSENT, 'absent')}")
                self.trace("left_out()")
            else:
                self.code.line(f"{self.fn(no_value)}({self.fn(_said(value))})")
        if fitted:
            with self.code.block("else:"):
                self.code.line(f"{v} = {fitted}")
        return v, sure or raw

    def _default(self, default: Value, v: str, names: Names, path: Path, contract: Field | None, raw: bool) -> None:
        local, sure = self.value(default, names, path, contract, raw=raw)
        self.code.line(f"{v} = {local}")
        self.trace(f"default({v}, 'default')")
        if not sure and raw:
            self.code.line(f"{v} = None if {v} is {self.fn(ABSENT, 'absent')} else {v}")


_NEVER_BLANK = ("decimal", "integer", "boolean", "date", "datetime", "time", "list")
_INLINE = {
    "trim": "{v}.strip() if type({v}) is str else {call}",
    "upper": "{v}.upper() if type({v}) is str else {call}",
    "lower": "{v}.lower() if type({v}) is str else {call}",
    "truncate": "{v} if type({v}) is str and len({v}) <= {arg} else {call}",
    "pad": "{v}.rjust({arg}, '0') if type({v}) is str else {call}",
}
"""The usual case of a converter without a call; ``{arg}`` is its checked first argument, a whole number."""

_KEEPS_TEXT = ("upper", "lower", "pad", "alpha", "trim", "hash", "json", "text")
"""Converters that never make blank text of text that is not blank."""


def _tree(fields: FieldMap) -> list[tuple[str, FieldMapping | FieldMap]]:
    """Dotted names as nested maps, in the order they are first named."""
    order: dict[str, list[FieldMapping]] = {}
    for one in fields.fields:
        order.setdefault(one.path[0], []).append(one)
    tree: list[tuple[str, FieldMapping | FieldMap]] = []
    for name, group in order.items():
        if len(group[0].path) == 1:
            tree.append((name, group[0]))
        else:
            tree.append((name, FieldMap(tuple(replace(one, path=one.path[1:]) for one in group), fields.span)))
    return tree


def _said(value: Value) -> str:
    """What has no value, in the author's own words."""
    origin = value.origin
    if isinstance(origin, Expr):
        return origin.text if origin.language != "template" else f'"{origin.text}"'
    return f"lookup {value.lookup}" if value.lookup else "the field"


def _dated(value: Value) -> bool:
    """Whether a date may stand here that must become text: from a converter, or read from a variable."""
    if value.converters:
        return value.converters[-1].of.gives in ("date", "datetime", "time", "any", None)
    if value.lookup is not None:
        return False
    if isinstance(value.origin, Expr):
        return value.origin.language != "template" and "vars" in value.origin.text
    return isinstance(value.origin, First)


def _never_blank(origin: Origin) -> bool:
    """A template with words of its own around its expressions."""
    return isinstance(origin, Expr) and origin.language == "template" and bool(_BRACES.sub("", origin.text).strip())


def _raise(error: Exception) -> Any:
    raise error


def _warned(lookup: str, key: Any) -> str:
    shown = ", ".join(map(show, key)) if isinstance(key, tuple) else show(key)
    return f"{lookup} has no row for {shown}; used the value of on_miss"


def _normal(trim: bool, ignore_case: bool) -> Any:
    from flowrun.flow.tables import normal

    def convert(key: Any) -> Any:
        if isinstance(key, tuple):
            return normal(key, ignore_case, trim)
        return normal((key,), ignore_case, trim)[0]

    return convert
