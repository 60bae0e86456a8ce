"""The obvious interpreter: the flow's YAML as it stands, walked for each record; jmespath.py for each path, Jinja2 for
each template, calculation and condition. What it can compile it compiles once.

It checks that what must be there is there and that text is no longer than the target takes, as the hand-written function
does. It does less than flowrun: no digits, no types, no bounds, no places.
Plain Jinja cannot compare text with a number, and ``order.items`` is a method of Python's dict there; ``SPELLED`` holds
what an author would have had to write instead.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

import jinja2
import jmespath
import yaml

ABSENT: Any = object()
SPELLED = {
    "order.items | length > 0": "order['items'] | length > 0",
    "order.total_difference is missing or order.total_difference == 0": "order.total_difference is none or order.total_difference | number == 0",
    "vars.lines == order.subtotal": "vars.lines == order.subtotal | number",
    "order.total_amount > 1000": "order.total_amount | number > 1000",
    "order.customer_id is missing": "order.customer_id is none",
    "order.items | sum('amount')": "order['items'] | map(attribute='amount') | map('number') | sum",
    "order.shipping.cost > 0": "order.shipping.cost | number > 0",
    "order.discounts | sum('amount')": "order.discounts | map(attribute='amount') | map('number') | sum",
    "Shop tax {{ order.taxes | sum('amount') }} {{ order.currency }}": "Shop tax {{ order.taxes | map(attribute='amount') | map('number') | sum }} {{ order.currency }}",
}  # fmt: skip


class Skip(Exception):
    pass


def blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _decimal(value: Any, digits: str, how: str = "") -> Decimal:
    place = Decimal(1).scaleb(-int(digits))
    found = Decimal(value)
    result = found.quantize(place, ROUND_HALF_UP)
    if not how and result != found:
        raise ValueError(f"{value} has more than {digits} digits")
    return result


def _date(value: Any, form: str, zone: str) -> date:
    assert form == "unix"
    return datetime.fromtimestamp(value, UTC).astimezone(ZoneInfo(zone)).date()


def _alpha(value: Any, width: str) -> str:
    return value.zfill(int(width)) if value.isdigit() else value


CONVERTERS: dict[str, Callable[..., Any]] = {
    "trim": lambda v: str(v).strip(),
    "upper": lambda v: str(v).upper(),
    "truncate": lambda v, n: str(v)[: int(n)],
    "text": str,
    "alpha": _alpha,
    "decimal": _decimal,
    "date": _date,
}


class Interpreter:
    """tables: lookup name → rows, for files and cross-references alike. lengths: target path → characters at most."""

    def __init__(
        self, flow: str, env: dict[str, str], tables: dict[str, dict[Any, str]], lengths: dict[str, int]
    ) -> None:
        self.flow = yaml.load(flow, yaml.BaseLoader)  # all scalars as text, as the flow has them
        self.env, self.tables, self.lengths = env, tables, lengths
        self.jinja = jinja2.Environment(undefined=jinja2.StrictUndefined)
        self.jinja.filters["number"] = Decimal
        self.compiled: dict[tuple[str, str], Any] = {}

    def path(self, text: str, scope: dict[str, Any]) -> Any:
        found = self.compiled.get(("path", text))
        if found is None:
            found = self.compiled["path", text] = jmespath.compile(text)
        return found.search(scope)

    def text(self, text: str, scope: dict[str, Any]) -> str:
        found = self.compiled.get(("text", text))
        if found is None:
            found = self.compiled["text", text] = self.jinja.from_string(SPELLED.get(text, text))
        return str(found.render(scope))

    def calc(self, text: str, scope: dict[str, Any]) -> Any:
        found = self.compiled.get(("calc", text))
        if found is None:
            found = self.compiled["calc", text] = self.jinja.compile_expression(SPELLED.get(text, text))
        return found(scope)

    def map(self, order: dict[str, Any], warnings: list[str]) -> dict[str, Any]:
        flow = self.flow
        scope: dict[str, Any] = {"order": order, "env": self.env, "vars": {}}
        if not self.calc(flow["source"]["only_when"], scope):
            raise Skip
        for name, rule in flow["rules"].items():
            scope[name] = self.calc(rule, scope)
        for name, spec in flow["vars"].items():
            scope["vars"][name] = self.value(spec, scope, warnings)
        for each in flow["require"]:
            if not self.calc(each["rule"], scope):
                message = self.text(each["message"], scope)
                if each.get("level") != "warn":
                    raise ValueError(message)
                warnings.append(message)
        return self.object(flow["map"], scope, warnings, "")

    def object(self, fields: dict[str, Any], scope: dict[str, Any], warnings: list[str], path: str) -> dict[str, Any]:
        made = {}
        for name, spec in fields.items():
            here = f"{path}.{name}" if path else name
            value = self.value(spec, scope, warnings, here)
            if value is not ABSENT:
                made[name] = value = self.sent(value)
                most = self.lengths.get(here)
                if most is not None and isinstance(value, str) and len(value) > most:
                    raise ValueError(f"{here} is longer than {most}")
        return made

    def sent(self, value: Any) -> Any:
        if isinstance(value, Decimal):
            return format(value, "f")
        return value.isoformat() if isinstance(value, date) else value

    def value(self, spec: Any, scope: dict[str, Any], warnings: list[str], path: str = "") -> Any:
        if isinstance(spec, str):
            spec = {"text": spec} if "{{" in spec else {"from": spec}
        if isinstance(spec, list):
            made = [self.value(each, scope, warnings, path) for each in spec]
            return [each for each in made if each is not ABSENT] or ABSENT
        if "when" in spec and not self.calc(spec["when"], scope):
            return ABSENT
        if "each" in spec:
            return self.rows(spec, scope, warnings, path)
        if "map" in spec:
            return self.object(spec["map"], scope, warnings, path)
        if "value" in spec:
            return spec["value"]
        value = self.origin(spec, scope, warnings)
        if not blank(value):
            value = self.converted(spec, value, warnings)
        if not blank(value):
            return value
        if "default" in spec:
            return spec["default"]
        if spec.get("optional") == "true":
            return ABSENT
        raise ValueError(f"{spec} has no value")

    def origin(self, spec: dict[str, Any], scope: dict[str, Any], warnings: list[str]) -> Any:
        if "from" in spec:
            return self.path(spec["from"], scope)
        if "text" in spec:
            return self.text(spec["text"], scope)
        if "calc" in spec:
            return self.calc(spec["calc"], scope)
        if "key" in spec:
            return tuple(self.value(part, scope, warnings) for part in spec["key"])
        for case in spec["first"]:
            if "when" not in case or self.calc(case["when"], scope):
                return self.value({key: part for key, part in case.items() if key != "when"}, scope, warnings)
        raise ValueError("no case holds")

    def converted(self, spec: dict[str, Any], value: Any, warnings: list[str]) -> Any:
        if "lookup" in spec:
            lookup = self.flow["lookups"][spec["lookup"]]
            key = value.lower() if lookup.get("ignore_case") == "true" else value
            found = self.tables[spec["lookup"]].get(key)
            if found is None:
                if lookup["on_miss"] == "error":
                    raise ValueError(f"{spec['lookup']} has no row for {value}")
                if lookup["on_miss"].get("warn") == "true":
                    warnings.append(f"{spec['lookup']} has no row for {value}")
                found = lookup["on_miss"]["use"]
            value = found
        calls = spec.get("as", [])
        for call in [calls] if isinstance(calls, str) else calls:
            word, *arguments = call.split()
            value = CONVERTERS[word](value, *arguments)
        return value

    def rows(self, spec: dict[str, Any], scope: dict[str, Any], warnings: list[str], path: str) -> Any:
        name, path = spec["each"].split(" in ")
        made = []
        for place, item in enumerate(self.path(path, scope) or [], 1):
            inner = {**scope, name: item}
            if "number" in spec:
                inner[spec["number"]] = place
            made.append(self.object(spec["map"], inner, warnings, path))
        if len(made) < int(spec.get("at_least", 0)):
            raise ValueError("too few rows")
        return made or ABSENT
