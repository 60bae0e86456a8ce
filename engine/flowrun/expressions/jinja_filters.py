"""Jinja's standard filters over exact numbers and plain values. None can reach Python, repeat text without bound or
draw chance; each takes the fuel first, then the value and its arguments as Jinja names them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flowrun.expressions import filters_lists as lists
from flowrun.expressions import filters_numbers as numbers
from flowrun.expressions import filters_text as text

FILTERS: Final[dict[str, tuple[Callable[..., Any], str]]] = {
    "abs": (numbers.f_abs, "decimal"),
    "batch": (lists.f_batch, "list"),
    "capitalize": (text.f_capitalize, "text"),
    "center": (text.f_center, "text"),
    "count": (lists.f_length, "integer"),
    "dictsort": (lists.f_dictsort, "list"),
    "e": (text.f_escape, "text"),
    "escape": (text.f_escape, "text"),
    "filesizeformat": (numbers.f_filesizeformat, "text"),
    "first": (lists.f_first, "any"),
    "float": (numbers.f_float, "decimal"),
    "forceescape": (text.f_escape, "text"),
    "groupby": (lists.f_groupby, "list"),
    "indent": (text.f_indent, "text"),
    "int": (numbers.f_int, "integer"),
    "items": (lists.f_items, "list"),
    "join": (text.f_join, "text"),
    "last": (lists.f_last, "any"),
    "length": (lists.f_length, "integer"),
    "list": (lists.f_list, "list"),
    "lower": (text.f_lower, "text"),
    "max": (numbers.f_max, "any"),
    "min": (numbers.f_min, "any"),
    "replace": (text.f_replace, "text"),
    "reverse": (lists.f_reverse, "any"),
    "round": (numbers.f_round, "decimal"),
    "safe": (text.f_string, "text"),
    "slice": (lists.f_slice, "list"),
    "sort": (lists.f_sort, "list"),
    "string": (text.f_string, "text"),
    "striptags": (text.f_striptags, "text"),
    "sum": (numbers.f_sum, "decimal"),
    "title": (text.f_title, "text"),
    "tojson": (text.f_tojson, "text"),
    "trim": (text.f_trim, "text"),
    "truncate": (text.f_truncate, "text"),
    "unique": (lists.f_unique, "list"),
    "upper": (text.f_upper, "text"),
    "urlencode": (text.f_urlencode, "text"),
    "wordcount": (text.f_wordcount, "integer"),
    "wordwrap": (text.f_wordwrap, "text"),
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
