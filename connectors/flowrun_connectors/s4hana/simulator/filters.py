"""$filter and $orderby of V2 and V4, as far as SAP's services take them, over canonical rows.

Strings of digits in key fields are compared the way SAP stores them, padded: ``'164'`` is ``'0000000164'``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from flowrun.contract import Field, Shape
from flowrun_connectors.s4hana.simulator.wire import UNKNOWN_PROPERTY, refuse, ticks

Test = Callable[[Mapping[str, Any]], bool]
PADDED = frozenset(
    {
        "SalesOrder",
        "SalesOrderItem",
        "SoldToParty",
        "Customer",
        "BusinessPartner",
        "DeliveryDocument",
        "DeliveryDocumentItem",
        "BillingDocument",
        "BillingDocumentItem",
        "ReferenceSDDocument",
        "ReferenceSDDocumentItem",
        "ShipToParty",
        "PayerParty",
        "Supplier",
        "HigherLevelItem",
    }
)
_TOKEN = re.compile(
    r"\s*(?:(?P<open>\()|(?P<close>\))|(?P<comma>,)"
    r"|(?P<typed>(?:datetimeoffset|datetime|time|guid)'[^']*')"
    r"|(?P<string>'(?:[^']|'')*')"
    r"|(?P<moment>\d{4}-\d\d-\d\d(?:T[\d:.]+(?:Z|[+-]\d\d:\d\d)?)?)"
    r"|(?P<number>-?\d+(?:\.\d+)?[MmLlDdFf]?)"
    r"|(?P<word>[A-Za-z_][\w/]*))"
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: a == b, "ne": lambda a, b: a != b, "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b, "lt": lambda a, b: a < b, "le": lambda a, b: a <= b,
}  # fmt: skip
_FUNCTIONS = {False: ("substringof", "startswith", "endswith"), True: ("contains", "startswith", "endswith")}


def compile_filter(text: str, shape: Shape, v4: bool, *, filterable: bool = True) -> Test:
    """Raises Stop: unknown property, bad literal, syntax, a set that does not filter."""
    if not text.strip():
        return lambda row: True
    if not filterable:
        raise refuse(v4, 400, "/IWBEP/CM_MGW_RT/021", "Filtering is not supported for this property")
    return _Parser(text, shape, v4).whole()


def sort(rows: list[Any], text: str, shape: Shape, v4: bool, *, sortable: bool = True) -> None:
    """In place, by several fields. Raises Stop for an unknown one."""
    if text.strip() and not sortable:
        raise refuse(v4, 400, "/IWBEP/CM_MGW_RT/021", "Sorting is not supported for this property")
    for part in reversed([part.split() for part in text.split(",") if part.strip()]):
        one = shape.get(part[0])
        if one is None or one.type in ("list", "object"):
            raise refuse(v4, 400, UNKNOWN_PROPERTY, f"Property '{part[0]}' not found in type '{shape.name}Type'")
        rows.sort(key=lambda row, f=one: _sort_key(row.get(f.name), f), reverse=part[1:] == ["desc"])  # type: ignore[misc]


def _sort_key(value: Any, one: Field) -> Any:
    return (0, 0) if value in (None, "") else (1, comparable(value, one))


def comparable(value: Any, one: Field) -> Any:
    """A stored value in the form that its type compares by."""
    if value in (None, "") and one.type in ("decimal", "integer"):
        return Decimal(0)
    if one.type in ("decimal", "integer"):
        return Decimal(str(value))
    if one.type == "boolean":
        return bool(value)
    if value is None:
        return "" if one.type == "text" else None
    if one.type == "datetime":
        return ticks(str(value))
    text = str(value)
    if one.name in PADDED and text.isdigit():
        return text.zfill(one.max_length or 10)
    return text


class _Parser:
    def __init__(self, text: str, shape: Shape, v4: bool) -> None:
        self._shape = shape
        self._v4 = v4
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if not found or found.end() == at:
                if text[at:].strip():
                    raise self._syntax(at)
                break
            self._tokens.append((str(found.lastgroup), found.group(str(found.lastgroup))))
            at = found.end()
        self._at = 0

    def _syntax(self, at: int) -> Exception:
        code = "/IWBEP/CM_V4S_RUN/000" if self._v4 else "/IWBEP/CM_MGW_RT/018"
        return refuse(self._v4, 400, code, f"Invalid token detected at position {at}")

    def whole(self) -> Test:
        test = self._or()
        if self._at < len(self._tokens):
            raise self._syntax(self._at)
        return test

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def _take(self, kind: str = "", text: str = "") -> str:
        found = self._peek()
        if (kind and found[0] != kind) or (text and found[1] != text):
            raise self._syntax(self._at)
        self._at += 1
        return found[1]

    def _or(self) -> Test:
        tests = [self._and()]
        while self._peek() == ("word", "or"):
            self._take()
            tests.append(self._and())
        return tests[0] if len(tests) == 1 else lambda row: any(test(row) for test in tests)

    def _and(self) -> Test:
        tests = [self._one()]
        while self._peek() == ("word", "and"):
            self._take()
            tests.append(self._one())
        return tests[0] if len(tests) == 1 else lambda row: all(test(row) for test in tests)

    def _one(self) -> Test:
        kind, text = self._peek()
        if kind == "open":
            self._take()
            test = self._or()
            self._take("close")
            return test
        if (kind, text) == ("word", "not") and not self._v4:
            self._take()
            inner = self._one()
            return lambda row: not inner(row)
        if kind == "word" and text in _FUNCTIONS[self._v4]:
            return self._function(self._take())
        one = self._property()
        operator = self._take("word")
        if operator not in _COMPARE:
            raise self._syntax(self._at)
        wanted, holds = self._literal(one), _COMPARE[operator]

        def compare(row: Mapping[str, Any]) -> bool:
            have = comparable(row.get(one.name), one)
            if have is None or wanted is None:
                return operator == ("eq" if have is wanted else "ne")
            return holds(have, wanted)

        return compare

    def _property(self) -> Field:
        name = self._take("word")
        one = self._shape.get(name)
        if one is None or one.type in ("list", "object"):
            raise refuse(
                self._v4, 400, UNKNOWN_PROPERTY, f"Property '{name}' not found in type '{self._shape.name}Type'"
            )
        return one

    def _function(self, name: str) -> Test:
        self._take("open")
        if name == "substringof":  # needle first
            needle = _plain(self._take("string"))
            self._take("comma")
            one = self._property()
        else:
            one = self._property()
            self._take("comma")
            needle = _plain(self._take("string"))
        self._take("close")
        if self._peek() == ("word", "eq"):
            self._take()
            self._take("word", "true")
        holds = {"startswith": str.startswith, "endswith": str.endswith}.get(name, str.__contains__)
        return lambda row: holds(str(row.get(one.name) or ""), needle)

    def _literal(self, one: Field) -> Any:
        kind, text = self._peek()
        self._at += 1
        try:
            return self._value(one, kind, text)
        except ValueError:
            raise refuse(
                self._v4, 400, "/IWBEP/CM_MGW_RT/019", f"Invalid literal '{text[:40]}' for property '{one.name}'"
            ) from None

    def _value(self, one: Field, kind: str, text: str) -> Any:
        if (kind, text) == ("word", "null"):
            return None
        if one.type == "text" and kind == "string":
            return comparable(_plain(text), one)
        if one.type == "boolean" and kind == "word" and text in ("true", "false"):
            return text == "true"
        if one.type in ("decimal", "integer") and kind == "number":
            return Decimal(text.rstrip("MmLlDdFf"))
        if self._v4 and kind == "moment" and ("T" in text) == (one.type == "datetime"):
            return ticks(text) if one.type == "datetime" else text
        if not self._v4 and kind == "typed":
            name, _, inner = text[:-1].partition("'")
            if one.type == "datetime" and name == "datetimeoffset":
                return ticks(inner)
            if one.type == "date" and name == "datetime":
                ticks(inner)
                return inner[:10]
            if one.type == "time" and name == "time":
                found = re.fullmatch(r"PT(\d\d)H(\d\d)M(\d\d)S", inner)
                if found:
                    return ":".join(found.groups())
        raise ValueError(text)


def _plain(text: str) -> str:
    return text[1:-1].replace("''", "'")
