"""Values of a flow as lines of the generated function. One emitter for both modes: fast, and explain.

A value ends in a local that holds what is sent, or ABSENT when the field is left out. Errors are raised where they
happen; the line's place (span and target path) tells the field, at no cost per record. ``Steps`` has what happens to a
value on its way; here is where values come from, and how they make objects and lists.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec.structs import replace

from flowrun.contract import Field
from flowrun.errors import DataError
from flowrun.expressions import emit_kind, parse
from flowrun.expressions.code import Fact
from flowrun.expressions.converters import as_text
from flowrun.expressions.runtime import BadValue, kind
from flowrun.expressions.to_contract import fitter
from flowrun.flow.model import (
    Each,
    Expr,
    FieldMap,
    FieldMapping,
    First,
    Items,
    Key,
    Literal_,
    Nested,
    Origin,
    Value,
)
from flowrun.plan.called import ABSENT
from flowrun.plan.lines import Names, Path
from flowrun.plan.steps import Steps

_BRACES = re.compile(
    r"\{%.*%\}|\{\{.*?\}\}|\{#.*?#\}", re.DOTALL
)  # greedy over statements: what stands inside may be left out


def not_a_list(value: Any, what: str) -> None:
    raise BadValue(f"{what} is {kind(value)}, not a list")


def too_few(count: int, least: int, what: str) -> None:
    raise BadValue(f"{what} has {count} row{'s' * (count != 1)}; at least {least} are needed")


class ValueEmitter(Steps):
    """Objects, lists and single values."""

    # -- objects ---------------------------------------------------------------------------------------------------

    def object(self, fields: FieldMap, names: Names, path: Path) -> tuple[str, bool]:
        """Emit a map; returns (the local of its dict, whether it surely has a field)."""
        code, absent = self.code, self.fn(ABSENT, "absent")
        built = []
        for name, one in _tree(fields):
            here = (*path, ("." if path else "") + name)
            if isinstance(one, FieldMapping):
                local, sure = self.field(one, names, here)
            else:
                local, sure = self.object(one, names, here)
                if not sure:
                    code.line(f"{local} = {local} or {absent}")
            built.append((name, local, sure))
        result = code.temp("o")
        pairs = ", ".join(f"{code.bind(name)}: {local}" for name, local, _ in built)
        code.line(f"{result} = {{{pairs}}}")  # at once, since a dict that grows is made twice
        for name, local, sure in built:
            if not sure:
                with code.block(f"if {local} is {absent}:"):
                    code.line(f"del {result}[{code.bind(name)}]")
        return result, any(sure for _, _, sure in built)

    def field(self, one: FieldMapping, names: Names, path: Path) -> tuple[str, bool]:
        """Emit a target field; returns (local, whether it is always there)."""
        with self.at(one.value.span, path):
            self.event("begin", self.path_parts(path), self.fn(one.span, "span"))
            local, sure = self.value(one.value, names, path, one.contract)
            self.event("end", local)
        return local, sure

    def path_parts(self, path: Path) -> str:
        """Python text of a tuple: the pieces of the target path, numbers for indices."""
        return f"({', '.join(f'len({part[1:]})' if part.startswith('@') else repr(part) for part in path)},)"

    # -- one value -------------------------------------------------------------------------------------------------

    def value(
        self, value: Value, names: Names, path: Path, contract: Field | None, *, raw: bool = False
    ) -> tuple[str, bool]:
        """Emit a value; returns (local, whether it always has a value). raw: no contract step (variables, keys):
        the value keeps its own type, and one that is missing or left out is None, never ABSENT."""
        if value.when is not None:
            result = self.local("None" if raw else self.fn(ABSENT, "absent"), "w")
            held = self.expr(value.when, names)
            self.event("condition", self.fn(value.when.text), held)
            with self.code.block(f"if {held}:"):
                local, sure = self._always(value, names, path, contract, raw)
                self.code.line(f"{result} = {self._none_when_absent(local, sure) if raw else local}")
            return result, raw
        local, sure = self._always(value, names, path, contract, raw)
        return (self._none_when_absent(local, sure), True) if raw else (local, sure)

    def _always(self, value: Value, names: Names, path: Path, contract: Field | None, raw: bool) -> tuple[str, bool]:
        origin = value.origin
        if isinstance(origin, Literal_) and not value.converters and value.lookup is None:
            return self._constant(origin.value, contract, raw), True
        plain = not value.converters and value.default is None and not value.null_send
        if isinstance(origin, Nested) and value.lookup is None and plain:
            return self._nested(origin, names, path)
        if isinstance(origin, Each):
            return self._each(value, origin, names, path, contract, raw)
        if isinstance(origin, Items) and plain:
            # Like a loop: a list whose every item was left out by its ``when`` is left out itself.
            return self._items(origin, names, path, contract)
        v = self._origin(origin, names, path, contract)
        if value.default is None and not value.optional and not value.null_send:
            return self.required(value, v, names, path, contract, raw), True
        return self.possible(value, v, names, path, contract, raw)

    def _constant(self, constant: Any, contract: Field | None, raw: bool) -> str:
        if constant is not None and not raw:
            fit = fitter(contract, self.text_numbers)
            try:
                constant = fit(constant) if fit else constant
            except DataError as error:  # the checker finds these; a contract of another version may not have
                return self.local(f"{self.fn(_raise, 'raise')}({self.fn(error, 'error')})")
        local = self.local(self.fn(constant, "constant"))
        if type(constant) is str:
            self.code.learn(local, text=True, said=bool(constant.strip()), most=len(constant))
        self.event("constant", local)
        return local

    def _origin(self, origin: Any, names: Names, path: Path, contract: Field | None) -> str:
        """The local of the value where it comes from; None when there is none."""
        if isinstance(origin, Expr):
            return self._computed(origin, names)
        if isinstance(origin, Literal_):
            return self._constant(origin.value, None, True)
        if isinstance(origin, First):
            return self._first(origin, names, path)
        if isinstance(origin, Nested):
            return self._none_when_absent(*self._nested(origin, names, path))
        if isinstance(origin, Key):
            return self._key(origin, names, path)
        assert isinstance(origin, Items)
        return self._none_when_absent(*self._items(origin, names, path, contract))

    def _computed(self, origin: Expr, names: Names) -> str:
        code = self.code
        text, kind_ = emit_kind(parse(origin.language, origin.text), code, names)
        found = text if text.isidentifier() and text not in ("None", "True", "False") else self.local(text)
        if kind_ == "text":
            code.learn(found, text=True, said=_never_blank(origin))
        elif kind_ not in ("any", "null"):
            code.learn(found, said=True)
            if kind_ == "count":
                code.remember(found, (), found, "count")
        if origin.language != "jmespath":
            self.event("computed", self.fn(origin.text), found)
        return found

    def _items(self, origin: Items, names: Names, path: Path, contract: Field | None) -> tuple[str, bool]:
        inner = contract.item if contract is not None and contract.type == "list" else None
        items = [self.value(one, names, (*path, f"[{i}]"), inner) for i, one in enumerate(origin.values)]
        if all(sure for _, sure in items):
            return self.local(f"[{', '.join(local for local, _ in items)}]"), True
        absent = self.fn(ABSENT, "absent")
        listed = self.local("[]", "list")
        for local, sure in items:
            if sure:
                self.code.line(f"{listed}.append({local})")
            else:
                with self.code.block(f"if {local} is not {absent}:"):
                    self.code.line(f"{listed}.append({local})")
        if any(sure for _, sure in items):
            return listed, True
        return self.local(f"{listed} or {absent}"), False

    def _none_when_absent(self, local: str, sure: bool) -> str:
        return local if sure else self.local(f"None if {local} is {self.fn(ABSENT, 'absent')} else {local}")

    def _nested(self, origin: Nested, names: Names, path: Path) -> tuple[str, bool]:
        inner = dict(names)
        for name, bound in origin.bindings:
            inner[name], _ = self.value(bound, names, path, None, raw=True)
        local, sure = self.object(origin.map, inner, path)
        if not sure:
            self.code.line(f"{local} = {local} or {self.fn(ABSENT, 'absent')}")
        return local, sure

    def _key(self, origin: Key, names: Names, path: Path) -> str:
        parts = []
        for part in origin.parts:
            local, _ = self.value(replace(part, optional=True), names, path, None, raw=True)
            parts.append(local)
        if len(parts) == 1:
            return parts[0]
        code, text = self.code, self.fn(as_text, "as_text")
        made = ", ".join(p if code.fact(p).text else f"{p} if type({p}) is str else {text}({p})" for p in parts)
        tests = " or ".join(f"{p} is None" for p in parts if not code.fact(p).said)
        if tests:
            return self.local(f"None if {tests} else ({made},)")
        key = self.local(f"({made},)")
        code.learn(key, said=True)
        return key

    def _first(self, origin: First, names: Names, path: Path) -> str:
        code, result = self.code, self.code.temp("first")
        facts: list[Fact] = []
        with code.block("while True:"):  # a block that break leaves
            for case in origin.cases:
                if case.when is None:
                    facts.append(self._case(case.value, names, path, result))
                    break
                held = self.expr(case.when, names)
                self.event("condition", self.fn(case.when.text), held)
                with code.block(f"if {held}:"):
                    facts.append(self._case(case.value, names, path, result))
                    code.line("break")
            code.line("break")
        if all(fact.text and fact.said for fact in facts):
            lengths = [fact.most for fact in facts if fact.most is not None]
            code.learn(result, text=True, said=True, most=max(lengths) if len(lengths) == len(facts) else None)
        return result

    def _case(self, value: Value, names: Names, path: Path, result: str) -> Fact:
        """Lines that put the case's value into ``result``; what is certain of it."""
        with self.at(value.span, path):
            chosen = replace(value, optional=value.optional or value.default is None)
            local, _ = self.value(chosen, names, path, None, raw=True)
            fact = self.code.fact(local)
            self.code.line(f"{result} = {local}")
        return fact

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
            self.code.line(f"fuel.left -= len({items}) + 1")
            with self.code.block("if fuel.left < 0:"):
                self.code.line("fuel.out()")
            counter = ""
            if origin.number:
                counter = self.local("0", "n")
                inner[origin.number] = counter
            with self.code.loop(f"for {row} in {items}:"):
                if origin.where is not None:
                    held = self.expr(origin.where, {k: v for k, v in inner.items() if k != origin.number})
                    with self.code.block(f"if not {held}:"):
                        self.code.line("continue")
                if counter:
                    self.code.line(f"{counter} += 1")
                    self.code.remember(counter, (), counter, "count")
                made, _ = self.object(origin.map, inner, (*path, f"@{rows}"))
                self.code.line(f"{rows}.append({made})")
        if origin.at_least:
            with self.code.block(f"if len({rows}) < {origin.at_least}:"):
                self.code.line(f"{self.fn(too_few)}(len({rows}), {origin.at_least}, {what})")
        sure = bool(origin.at_least) or origin.keep_empty
        if value.converters or value.default is not None or value.null_send:
            found = rows if sure else self.local(f"{rows} or None")
            return self.possible(replace(value, optional=True), found, names, path, contract, raw)
        return (rows, True) if sure else (self.local(f"{rows} or {self.fn(ABSENT, 'absent')}"), False)


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


def _never_blank(origin: Origin) -> bool:
    """A template with words of its own around its expressions."""
    return isinstance(origin, Expr) and origin.language == "template" and bool(_BRACES.sub("", origin.text).strip())


def _raise(error: Exception) -> Any:
    raise error
