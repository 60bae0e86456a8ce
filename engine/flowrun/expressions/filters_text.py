"""Jinja's filters that make text, each bounded and paid for."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from html import escape as html_escape
from typing import Any
from urllib.parse import quote, quote_plus

from markupsafe import Markup

from flowrun.expressions.jinja_rows import column, listed, text, whole_number
from flowrun.expressions.runtime import TEXT_MAX, BadValue, Fuel, kind, show, too_long
from flowrun.expressions.text import join_texts, json_text, sorted_json, to_text


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
    times = (
        subject.count(before) if count is None else min(subject.count(before), whole_number(count, "replace", 10**9))
    )
    if len(subject) + times * len(after) > TEXT_MAX:
        too_long()
    return subject.replace(before, after, times)


def _only_text(fuel: Fuel, value: Any, what: str) -> str:
    """For filters that Jinja has for text alone. Raises BadValue."""
    if not isinstance(value, str):
        raise BadValue(f"{what!r} takes text, not {kind(value)}", code="FR113", help=f"`| string | {what}`")
    return text(fuel, value)


def f_center(fuel: Fuel, value: Any, width: Any = 80) -> str:
    return text(fuel, value).center(whole_number(width, "center", 1000))


def f_indent(fuel: Fuel, value: Any, width: Any = 4, first: Any = False, blank: Any = False) -> str:
    margin = width if isinstance(width, str) else " " * whole_number(width, "indent", 200)
    subject = _only_text(fuel, value, "indent")
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
    subject, tail = _only_text(fuel, value, "truncate"), text(fuel, end)
    size = whole_number(length, "truncate", TEXT_MAX)
    slack = 5 if leeway is None else whole_number(leeway, "truncate", TEXT_MAX)
    if size < len(tail):
        raise BadValue(f"'truncate' to {size} characters leaves no room for {show(tail)}", code="FR113")
    if len(subject) <= size + slack:
        return subject
    if killwords:
        return subject[: size - len(tail)] + tail
    return subject[: size - len(tail)].rsplit(" ", 1)[0] + tail


def f_wordcount(fuel: Fuel, value: Any) -> int:
    return len(re.findall(r"\w+", text(fuel, value)))


@lru_cache(maxsize=64)
def _wrapper(columns: int, break_long_words: bool, break_on_hyphens: bool) -> textwrap.TextWrapper:
    return textwrap.TextWrapper(
        width=columns,
        expand_tabs=False,
        replace_whitespace=False,
        break_long_words=break_long_words,
        break_on_hyphens=break_on_hyphens,
    )


def f_wordwrap(
    fuel: Fuel,
    value: Any,
    width: Any = 79,
    break_long_words: Any = True,
    wrapstring: Any = None,
    break_on_hyphens: Any = True,
) -> str:
    subject = _only_text(fuel, value, "wordwrap")
    fuel.spend(len(subject))
    columns = whole_number(width, "wordwrap", 10_000)
    if not columns:
        raise BadValue("'wordwrap' takes a width of at least 1", code="FR113")
    glue = "\n" if wrapstring is None else text(fuel, wrapstring)
    wrapper = _wrapper(columns, bool(break_long_words), bool(break_on_hyphens))
    pieces = (
        line if len(line) <= columns and line == line.strip() else glue.join(wrapper.wrap(line))
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
    step = None if indent is None else whole_number(indent, "tojson", 16)
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
        items = column(items, attribute, "join")
    return _joined(fuel, text(fuel, d), [each if type(each) is str else to_text(each) for each in items])
