"""Jinja's filters over lists and objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from flowrun.expressions.jinja_rows import MISSING, Group, column, dig, listed, parts_of, text, whole_number
from flowrun.expressions.runtime import BadValue, Fuel, kind
from flowrun.expressions.text import json_text


def f_length(fuel: Fuel, value: Any) -> int:
    if isinstance(value, (str, list, tuple, Mapping)):
        return len(value)
    help = "ask `… is missing` first" if value is None else ""
    raise BadValue(f"{kind(value)} has no length", code="FR113", help=help)


def f_first(fuel: Fuel, value: Any) -> Any:
    items = listed(fuel, value, "first")
    return items[0] if items else MISSING


def f_last(fuel: Fuel, value: Any) -> Any:
    items = listed(fuel, value, "last")
    return items[-1] if items else MISSING


def f_list(fuel: Fuel, value: Any) -> list[Any]:
    return list(listed(fuel, value, "list"))


def f_reverse(fuel: Fuel, value: Any) -> Any:
    if isinstance(value, str):
        return text(fuel, value)[::-1]
    return listed(fuel, value, "reverse")[::-1]


def f_items(fuel: Fuel, value: Any) -> list[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        raise BadValue(f"{kind(value)} has no items: 'items' needs an object", code="FR113")
    fuel.spend(len(value))
    return list(value.items())


def f_dictsort(
    fuel: Fuel, value: Any, case_sensitive: Any = False, by: Any = "key", reverse: Any = False
) -> list[tuple[str, Any]]:
    if by not in ("key", "value"):
        raise BadValue("'dictsort' sorts by 'key' or 'value'", code="FR113")
    place = 0 if by == "key" else 1
    return _sorted(
        fuel, f_items(fuel, value), lambda pair: _plain_key(pair[place], case_sensitive), reverse, "dictsort"
    )


def f_batch(fuel: Fuel, value: Any, linecount: Any, fill_with: Any = None) -> list[list[Any]]:
    size = whole_number(linecount, "batch", 10_000)
    items = listed(fuel, value, "batch")
    if not size:
        raise BadValue("'batch' takes a size of at least 1", code="FR113")
    rows = [items[at : at + size] for at in range(0, len(items), size)]
    if rows and fill_with is not None:
        fuel.spend(size)
        rows[-1] = rows[-1] + [fill_with] * (size - len(rows[-1]))
    return rows


def f_slice(fuel: Fuel, value: Any, slices: Any, fill_with: Any = None) -> list[list[Any]]:
    columns = whole_number(slices, "slice", 10_000)
    items = listed(fuel, value, "slice")
    if not columns:
        raise BadValue("'slice' takes a number of at least 1", code="FR113")
    fuel.spend(columns)
    each, longer = divmod(len(items), columns)
    rows, at = [], 0
    for place in range(columns):
        end = at + each + (1 if place < longer else 0)
        row = items[at:end]
        rows.append([*row, fill_with] if fill_with is not None and place >= longer else row)
        at = end
    return rows


def _plain_key(value: Any, case_sensitive: Any) -> Any:
    return value.lower() if isinstance(value, str) and not case_sensitive else value


def _sorted(fuel: Fuel, items: list[Any], key: Callable[[Any], Any], reverse: Any, what: str) -> list[Any]:
    fuel.spend(len(items) * 4)
    try:
        return sorted(items, key=key, reverse=bool(reverse))
    except TypeError:
        raise BadValue(f"{what!r} cannot order values of different types", code="FR113") from None


def f_sort(
    fuel: Fuel, value: Any, reverse: Any = False, case_sensitive: Any = False, attribute: Any = None
) -> list[Any]:
    items = listed(fuel, value, "sort")
    if attribute is None:
        return _sorted(fuel, items, lambda each: _plain_key(each, case_sensitive), reverse, "sort")
    names = attribute.split(",") if isinstance(attribute, str) else [attribute]
    columns = [[_plain_key(each, case_sensitive) for each in column(items, name, "sort")] for name in names]
    keys = list(zip(*columns, strict=True))
    return [items[place] for place in _sorted(fuel, list(range(len(items))), keys.__getitem__, reverse, "sort")]


def f_unique(fuel: Fuel, value: Any, case_sensitive: Any = False, attribute: Any = None) -> list[Any]:
    items = listed(fuel, value, "unique")
    keys = items if attribute is None else column(items, attribute, "unique")
    seen: set[Any] = set()
    found = []
    for each, key in zip(items, keys, strict=True):
        mark = _mark(_plain_key(key, case_sensitive))
        if mark not in seen:
            seen.add(mark)
            found.append(each)
    return found


def _mark(value: Any) -> Any:
    if isinstance(value, Decimal) and value.is_snan():
        return object()  # equal to nothing, and Python refuses to hash it
    return json_text(value, sort=True) if isinstance(value, (list, tuple, Mapping)) else value


def f_groupby(
    fuel: Fuel, value: Any, attribute: Any, default: Any = MISSING, case_sensitive: Any = False
) -> list[Group]:
    items = listed(fuel, value, "groupby")
    keys = column(items, attribute, "groupby", default)
    marks = [_plain_key(key, case_sensitive) for key in keys]
    groups: list[Group] = []
    before: Any = MISSING
    for place in _sorted(fuel, list(range(len(items))), marks.__getitem__, False, "groupby"):
        if marks[place] != before:
            groups.append(Group(grouper=keys[place], list=[]))
            before = marks[place]
        groups[-1]["list"].append(items[place])
    return groups


def f_map_attribute(fuel: Fuel, value: Any, attribute: Any, default: Any = MISSING) -> list[Any]:
    return column(listed(fuel, value, "map"), attribute, "map", default)


def f_map_filter(fuel: Fuel, value: Any, function: Callable[..., Any], *args: Any) -> list[Any]:
    found = []
    for each in listed(fuel, value, "map"):
        fuel.spend(1)
        result = function(fuel, each, *args)
        if result is MISSING:
            raise BadValue("a row of 'map' has no value", code="FR104")
        found.append(result)
    return found


def f_select(
    fuel: Fuel, value: Any, wanted: bool, attribute: Any, test: Callable[..., Any] | None, *args: Any
) -> list[Any]:
    """select, reject, selectattr, rejectattr: the rows whose value (or attribute) passes the test, or does not."""
    items = listed(fuel, value, "select" if wanted else "reject")
    parts = None if attribute is None else parts_of(attribute)
    found = []
    for each in items:
        subject = each if parts is None else dig(each, parts)
        if subject is MISSING and not (test is not None and test.__name__ in ("t_missing", "t_defined", "t_undefined")):
            raise BadValue(
                f"{attribute} is missing in a row, in {'select' if wanted else 'reject'}attr",
                code="FR104",
                help=f"selectattr({attribute!r}, 'defined') first",
            )
        passed = bool(subject) if test is None else bool(test(fuel, subject, *args))
        if passed is wanted:
            found.append(each)
    return found
