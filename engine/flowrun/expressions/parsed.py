"""What parsing an expression gives, in both languages alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from flowrun.errors import ExpressionError

Language = Literal["jmespath", "template", "calc"]

LENGTH_MAX = 10_000  # characters of one expression; a template may be twice as long
DEPTH_MAX = 60  # nesting of one expression; Python's own parser gives up soon after


@dataclass(frozen=True, slots=True)
class NameUse:
    """An identifier evaluated against the root. path: the fields read from it, as far as they stand in the text
    (``order.billing.city`` → ``("billing", "city")``; ``order.items[0].sku`` → ``("items", 0, "sku")``)."""

    name: str
    offset: int
    length: int
    path: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Parsed:
    """tree: jmespath's dict nodes with ``start`` and ``length`` added, or jinja2's nodes whose ``lineno`` is the
    character offset. names: every use, in text order."""

    language: Language
    text: str
    tree: Any
    names: tuple[NameUse, ...]
    tokens: tuple[tuple[int, str, str], ...] = ()  # Jinja only: offset, kind, text
    builds: bool = False  # Jinja only: it makes lists, objects or names, which may print as more than they hold


def check_length(language: Language, text: str) -> None:
    most = LENGTH_MAX * 2 if language == "template" else LENGTH_MAX
    if len(text) > most:
        raise ExpressionError(
            f"the expression is {len(text):,} characters long; at most {most:,} are allowed",
            offset=most,
            code="FR118",
            help="split it: name parts under `vars:`",
        )


def too_deep(offset: int = 0) -> ExpressionError:
    return ExpressionError(
        f"the expression is nested more than {DEPTH_MAX} deep",
        offset=offset,
        code="FR118",
        help="split it: name parts under `vars:`",
    )
