"""Jinja's standard filters over exact numbers and plain values. None can reach Python, repeat text without bound or
draw chance; each takes the fuel first, then the value and its arguments as Jinja names them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from html import escape as html_escape
from typing import Any, Final
from urllib.parse import quote, quote_plus

from markupsafe import Markup

from flowrun.expressions.numbers import number, plain_decimal, rounded
from flowrun.expressions.runtime import TEXT_MAX, BadValue, Fuel, kind, show, too_long
from flowrun.expressions.text import join_texts, json_text, sorted_json, to_text

MISSING: Final = object()
"""What a filter gives when Jinja gives undefined: an error unless the flow asks or defaults."""


class Group(dict[str, Any]):
    """One row of ``groupby``: ``g.grouper`` and ``g.list``, or unpacked in that order."""


def text(fuel: Fuel, value: Any) -> str:
    """Text of a value; long ones cost fuel, because each filter makes a copy."""
    found = value if type(value) is str else to_text(value)
    if len(found) > 256:
        fuel.spend(len(found) >> 6)
        if len(found) > TEXT_MAX:
            too_long()
    return found


def listed(fuel: Fuel, value: Any, what: str) -> list[Any]:
    """The elements Jinja would iterate: of a list, the keys of an object, the characters of a text."""
    if type(value) is list:
        fuel.spend(len(value))
        return value
    if isinstance(value, Group):
        return list(value.values())
    if isinstance(value, (list, tuple, str, Mapping)):
        fuel.spend(len(value))
        return list(value)
    help = "ask `… is missing` first, or write `| default([])`" if value is None else ""
    raise BadValue(f"{kind(value)} is not a list, in {what!r}", code="FR113", help=help)


def _count(value: Any, what: str, most: int) -> int:
    found = number(value, what)
    if not 0 <= found <= most or found != int(found):
        raise BadValue(f"{what!r} takes a whole number from 0 to {most:,}, not {show(value)}", code="FR113")
    return int(found)


def parts_of(attribute: Any) -> list[str | int]:
    """``'a.b.0'`` as steps; a number is one step."""
    if isinstance(attribute, int):
        return [attribute]
    if not isinstance(attribute, str) or len(attribute) > 500:
        raise BadValue(f"an attribute is named by text, not {kind(attribute)}", code="FR113")
    return _steps(attribute)


@lru_cache(maxsize=256)
def _steps(attribute: str) -> list[str | int]:
    return [int(part) if part.isdecimal() and len(part) < 10 else part for part in attribute.split(".")]


def dig(value: Any, parts: Iterable[str | int]) -> Any:
    """The value at the steps, by key and place only; MISSING when there is none."""
    for part in parts:
        value = lookup(value, part)
        if value is MISSING:
            return MISSING
    return value


def lookup(value: Any, key: Any) -> Any:
    if isinstance(value, Mapping):
        if isinstance(key, int) and not isinstance(key, bool):
            key = str(key) if key not in value else key
        return value.get(key, MISSING) if isinstance(key, (str, int)) else MISSING
    if isinstance(value, (list, tuple, str)) and isinstance(key, (int, Decimal)) and key == int(key):
        return value[int(key)] if -len(value) <= key < len(value) else MISSING
    return MISSING


def _picked(items: list[Any], attribute: Any, what: str, default: Any = MISSING) -> list[Any]:
    parts = parts_of(attribute)
    if len(parts) == 1:
        try:
            return [each[parts[0]] for each in items]  # JSON values: an object has the key, or this raises
        except (KeyError, TypeError, IndexError):
            pass
    found = [dig(each, parts) for each in items]
    for place, value in enumerate(found):
        if value is MISSING:
            if default is MISSING:
                raise BadValue(f"{attribute} is missing in row {place + 1}, in {what!r}", code="FR104")
            found[place] = default
    return found


# -- numbers -------------------------------------------------------------------------------------------------------


def f_abs(fuel: Fuel, value: Any) -> Any:
    found = number(value, "abs")
    return found.copy_abs() if type(found) is Decimal else abs(found)


def f_round(fuel: Fuel, value: Any, precision: Any = 0, method: Any = "common") -> Any:
    return rounded(value, precision, method)


def f_int(fuel: Fuel, value: Any, default: Any = 0, base: Any = 10) -> Any:
    """The whole part; ``default`` where the text is no number."""
    if isinstance(value, str):
        if base != 10:
            try:
                return int(value[:1000], _count(base, "int", 36))
            except ValueError:
                return default
        found = plain_decimal(value.strip())
        return default if found is None else int(found)
    if isinstance(value, (int, Decimal, float)):
        return int(number(value, "int"))
    return default


def f_float(fuel: Fuel, value: Any, default: Any = Decimal("0.0")) -> Any:
    """The number, as Decimal: nothing in a flow is a float."""
    if isinstance(value, str):
        found = plain_decimal(value.strip())
        return default if found is None else found
    if isinstance(value, (int, Decimal, float)):
        return Decimal(number(value, "float"))
    return default


def f_sum(fuel: Fuel, value: Any, attribute: Any = None, start: Any = 0) -> Any:
    items = listed(fuel, value, "sum")
    if attribute is not None:
        items = _picked(items, attribute, "sum")
    numbers = [each if type(each) is Decimal else number(each, "sum") for each in items]
    return sum(numbers, start if type(start) is int else number(start, "sum"))


def _extreme(fuel: Fuel, value: Any, attribute: Any, what: str, pick: Callable[..., int]) -> Any:
    items = listed(fuel, value, what)
    if not items:
        return MISSING
    if attribute is None:
        numbers = [number(each, what) for each in items]
        return numbers[pick(range(len(numbers)), key=numbers.__getitem__)]
    numbers = [number(each, what) for each in _picked(items, attribute, what)]
    return items[pick(range(len(numbers)), key=numbers.__getitem__)]


def f_max(fuel: Fuel, value: Any, case_sensitive: Any = False, attribute: Any = None) -> Any:
    return _extreme(fuel, value, attribute, "max", max)


def f_min(fuel: Fuel, value: Any, case_sensitive: Any = False, attribute: Any = None) -> Any:
    return _extreme(fuel, value, attribute, "min", min)


def f_filesizeformat(fuel: Fuel, value: Any, binary: Any = False) -> str:
    size, base = Decimal(number(value, "filesizeformat")), 1024 if binary else 1000
    if size == 1:
        return "1 Byte"
    if size < base:
        return f"{int(size)} Bytes"
    letters = "KMGTPEZY"
    for place, letter in enumerate(letters):
        if size < base ** (place + 2) or letter == letters[-1]:
            return f"{size / base ** (place + 1):.1f} {letter}{'iB' if binary else 'B'}"
    raise AssertionError


# -- text ----------------------------------------------------------------------------------------------------------


def f_upper(fuel: Fuel, value: Any) -> str:
    return text(fuel, value).upper()


def f_lower(fuel: Fuel, value: Any) -> str:
    return text(fuel, value).lower()


def f_capitalize(fuel: Fuel, value: Any) -> str:
    return text(fuel, value).capitalize()


_WORD_START = re.compile(r"([-\s({\[<]+)")


def f_title(fuel: Fuel, value: Any) -> str:
    return "".join(part[0].upper() + part[1:].lower() for part in _WORD_START.split(text(fuel, value)) if part)


def f_trim(fuel: Fuel, value: Any, chars: Any = None) -> str:
    return text(fuel, value).strip(None if chars is None else text(fuel, chars))


def f_string(fuel: Fuel, value: Any) -> str:
    return text(fuel, value)


def f_replace(fuel: Fuel, value: Any, old: Any, new: Any, count: Any = None) -> str:
    subject, before, after = text(fuel, value), text(fuel, old), text(fuel, new)
    times = subject.count(before) if count is None else min(subject.count(before), _count(count, "replace", 10**9))
    if len(subject) + times * len(after) > TEXT_MAX:
        too_long()
    return subject.replace(before, after, times)


def f_center(fuel: Fuel, value: Any, width: Any = 80) -> str:
    return text(fuel, value).center(_count(width, "center", 1000))


def f_indent(fuel: Fuel, value: Any, width: Any = 4, first: Any = False, blank: Any = False) -> str:
    margin = width if isinstance(width, str) else " " * _count(width, "indent", 200)
    subject = text(fuel, value)
    if len(margin) > 200 or len(subject) + subject.count("\n") * len(margin) > TEXT_MAX:
        too_long()
    subject += "\n"  # as Jinja does it: so that the last line is a line
    if blank:
        result = ("\n" + margin).join(subject.splitlines())
    else:
        lines = subject.splitlines()
        result = lines.pop(0)
        if lines:
            result += "\n" + "\n".join(margin + line if line else line for line in lines)
    return margin + result if first else result


def f_truncate(
    fuel: Fuel, value: Any, length: Any = 255, killwords: Any = False, end: Any = "...", leeway: Any = None
) -> str:
    subject, tail = text(fuel, value), text(fuel, end)
    size = _count(length, "truncate", TEXT_MAX)
    slack = 5 if leeway is None else _count(leeway, "truncate", TEXT_MAX)
    if size < len(tail):
        raise BadValue(f"'truncate' to {size} characters leaves no room for {show(tail)}", code="FR113")
    if len(subject) <= size + slack:
        return subject
    if killwords:
        return subject[: size - len(tail)] + tail
    return subject[: size - len(tail)].rsplit(" ", 1)[0] + tail


def f_wordcount(fuel: Fuel, value: Any) -> int:
    return len(re.findall(r"\w+", text(fuel, value)))


def f_wordwrap(
    fuel: Fuel,
    value: Any,
    width: Any = 79,
    break_long_words: Any = True,
    wrapstring: Any = None,
    break_on_hyphens: Any = True,
) -> str:
    subject = text(fuel, value)
    fuel.spend(len(subject))
    columns = _count(width, "wordwrap", 10_000)
    if not columns:
        raise BadValue("'wordwrap' takes a width of at least 1", code="FR113")
    glue = "\n" if wrapstring is None else text(fuel, wrapstring)
    pieces = (
        glue.join(
            textwrap.wrap(
                line,
                width=columns,
                expand_tabs=False,
                replace_whitespace=False,
                break_long_words=bool(break_long_words),
                break_on_hyphens=bool(break_on_hyphens),
            )
        )
        for line in subject.splitlines()
    )
    return _joined(fuel, glue, pieces)


def f_striptags(fuel: Fuel, value: Any) -> str:
    subject = text(fuel, value)
    fuel.spend(len(subject) >> 2)
    if subject.count("<") > 2000:
        too_long()
    return str(Markup(subject).striptags())  # noqa: S704 - nothing is rendered as HTML: the tags go


def f_escape(fuel: Fuel, value: Any) -> str:
    return html_escape(text(fuel, value)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")


def f_urlencode(fuel: Fuel, value: Any) -> str:
    if isinstance(value, (str, int, Decimal)) or value is None:
        return quote(text(fuel, value), safe="/")
    pairs = list(value.items()) if isinstance(value, Mapping) else listed(fuel, value, "urlencode")
    fuel.spend(len(pairs))
    return "&".join(f"{quote_plus(text(fuel, k))}={quote_plus(text(fuel, v))}" for k, v in _two(pairs, "urlencode"))


def _two(pairs: list[Any], what: str) -> list[tuple[Any, Any]]:
    for each in pairs:
        if not isinstance(each, (list, tuple)) or len(each) != 2:
            raise BadValue(f"{what!r} takes text, an object or a list of pairs", code="FR113")
    return [(first, second) for first, second in pairs]


def f_tojson(fuel: Fuel, value: Any, indent: Any = None) -> str:
    step = None if indent is None else _count(indent, "tojson", 16)
    found = json_text(value, comma=", ", colon=": ", sort=True, indent=step)
    fuel.spend(len(found) >> 6)
    return found.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").replace("'", "\\u0027")


def f_tojson_quick(fuel: Fuel, value: Any, indent: Any = None) -> str:
    """The same for values that hold no list many times over."""
    if indent is not None:
        return f_tojson(fuel, value, indent)
    found = sorted_json(value)
    fuel.spend(len(found) >> 6)
    return found if _HTML.isdisjoint(found) else f_tojson(fuel, value)


_HTML = frozenset("<>&'")


def _joined(fuel: Fuel, glue: str, pieces: Iterable[str]) -> str:
    held = list(pieces)
    if len(glue) * len(held) > TEXT_MAX:
        too_long()
    found = join_texts(held) if not glue else glue.join(held) if sum(map(len, held)) <= TEXT_MAX else too_long()
    fuel.spend(len(found) >> 6)
    return found


def f_join(fuel: Fuel, value: Any, d: Any = "", attribute: Any = None) -> str:
    items = listed(fuel, value, "join")
    if attribute is not None:
        items = _picked(items, attribute, "join")
    return _joined(fuel, text(fuel, d), [each if type(each) is str else to_text(each) for each in items])


# -- lists ---------------------------------------------------------------------------------------------------------


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
    size = _count(linecount, "batch", 10_000)
    items = listed(fuel, value, "batch")
    if not size:
        raise BadValue("'batch' takes a size of at least 1", code="FR113")
    rows = [items[at : at + size] for at in range(0, len(items), size)]
    if rows and fill_with is not None:
        fuel.spend(size)
        rows[-1] = rows[-1] + [fill_with] * (size - len(rows[-1]))
    return rows


def f_slice(fuel: Fuel, value: Any, slices: Any, fill_with: Any = None) -> list[list[Any]]:
    columns = _count(slices, "slice", 10_000)
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
    columns = [[_plain_key(each, case_sensitive) for each in _picked(items, name, "sort")] for name in names]
    keys = list(zip(*columns, strict=True))
    return [items[place] for place in _sorted(fuel, list(range(len(items))), keys.__getitem__, reverse, "sort")]


def f_unique(fuel: Fuel, value: Any, case_sensitive: Any = False, attribute: Any = None) -> list[Any]:
    items = listed(fuel, value, "unique")
    keys = items if attribute is None else _picked(items, attribute, "unique")
    seen: set[Any] = set()
    found = []
    for each, key in zip(items, keys, strict=True):
        mark = _mark(_plain_key(key, case_sensitive))
        if mark not in seen:
            seen.add(mark)
            found.append(each)
    return found


def _mark(value: Any) -> Any:
    return json_text(value, sort=True) if isinstance(value, (list, tuple, Mapping)) else value


def f_groupby(
    fuel: Fuel, value: Any, attribute: Any, default: Any = MISSING, case_sensitive: Any = False
) -> list[Group]:
    items = listed(fuel, value, "groupby")
    keys = _picked(items, attribute, "groupby", default)
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
    return _picked(listed(fuel, value, "map"), attribute, "map", default)


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


FILTERS: Final[dict[str, tuple[Callable[..., Any], str]]] = {
    "abs": (f_abs, "decimal"),
    "batch": (f_batch, "list"),
    "capitalize": (f_capitalize, "text"),
    "center": (f_center, "text"),
    "count": (f_length, "integer"),
    "dictsort": (f_dictsort, "list"),
    "e": (f_escape, "text"),
    "escape": (f_escape, "text"),
    "filesizeformat": (f_filesizeformat, "text"),
    "first": (f_first, "any"),
    "float": (f_float, "decimal"),
    "forceescape": (f_escape, "text"),
    "groupby": (f_groupby, "list"),
    "indent": (f_indent, "text"),
    "int": (f_int, "integer"),
    "items": (f_items, "list"),
    "join": (f_join, "text"),
    "last": (f_last, "any"),
    "length": (f_length, "integer"),
    "list": (f_list, "list"),
    "lower": (f_lower, "text"),
    "max": (f_max, "any"),
    "min": (f_min, "any"),
    "replace": (f_replace, "text"),
    "reverse": (f_reverse, "any"),
    "round": (f_round, "decimal"),
    "safe": (f_string, "text"),
    "slice": (f_slice, "list"),
    "sort": (f_sort, "list"),
    "string": (f_string, "text"),
    "striptags": (f_striptags, "text"),
    "sum": (f_sum, "decimal"),
    "title": (f_title, "text"),
    "tojson": (f_tojson, "text"),
    "trim": (f_trim, "text"),
    "truncate": (f_truncate, "text"),
    "unique": (f_unique, "list"),
    "upper": (f_upper, "text"),
    "urlencode": (f_urlencode, "text"),
    "wordcount": (f_wordcount, "integer"),
    "wordwrap": (f_wordwrap, "text"),
}
"""Name → function and the type of what it gives. default, map, select and their kin are emitted on their own."""

SPECIAL: Final = ("d", "default", "map", "reject", "rejectattr", "select", "selectattr")

REFUSED_FILTERS: Final = {
    "attr": "write the field behind a dot: order.name",
    "format": "join with ~ and round with `| round(2)`",
    "pprint": "it shows Python's insides; use `| tojson`",
    "random": "a flow gives the same result every time",
    "urlize": "nothing in a flow is HTML",
    "xmlattr": "nothing in a flow is HTML",
}
