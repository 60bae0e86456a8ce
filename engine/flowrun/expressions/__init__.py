"""Expressions: JMESPath and Jinja parsed by their own libraries, checked, compiled to Python.

``parse`` a text, ``analyse`` it against the names in scope, ``emit`` it into a generated function;
``compile_jmespath`` is JMESPath alone, for everybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from flowrun.expressions.analyse import analyse
from flowrun.expressions.code import Code
from flowrun.expressions.findings import Analysis, Finding, PathRead
from flowrun.expressions.jinja_parse import parse_jinja
from flowrun.expressions.jinja_reading import Kind
from flowrun.expressions.jinja_template import emit_jinja
from flowrun.expressions.jmespath_emit import emit_jmespath
from flowrun.expressions.jmespath_parse import parse_jmespath
from flowrun.expressions.parsed import Language, NameUse, Parsed
from flowrun.expressions.search import compile_jmespath

__all__ = [
    "Analysis",
    "Code",
    "Finding",
    "Language",
    "NameUse",
    "Parsed",
    "PathRead",
    "analyse",
    "compile_jmespath",
    "emit",
    "emit_kind",
    "parse",
]


@lru_cache(maxsize=4096)
def parse(language: Language, text: str) -> Parsed:
    """The expression's tree and the names it uses. Raises ExpressionError (offset and length into the text)."""
    if language == "jmespath":
        return parse_jmespath(text)
    return parse_jinja(language, text)


def emit(parsed: Parsed, code: Code, names: Mapping[str, str]) -> str:
    """``emit_kind`` without the kind."""
    return emit_kind(parsed, code, names)[0]


def emit_kind(parsed: Parsed, code: Code, names: Mapping[str, str]) -> tuple[str, Kind]:
    """Append the lines that compute the expression; returns Python expression text, valid from there on, and what is
    certain of the value.

    names: name in scope → the Python local that holds its value. The function needs a local ``fuel`` (``Fuel``), and
    ``trace`` when ``code.explain``; it should run inside ``numbers.exact_numbers()``.
    JMESPath gives None for what is absent. A template gives str; calc a value of any type.
    Raises ExpressionError for what ``analyse`` would have found.
    """
    if parsed.language == "jmespath":
        return emit_jmespath(parsed, code, names), "any"
    return emit_jinja(parsed, code, names)
