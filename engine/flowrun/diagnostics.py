"""What is wrong, where, why, and how to put it right: spans, diagnostics and the one list of codes."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches
from typing import Literal

from msgspec import Struct

Severity = Literal["error", "warning", "lint"]


class Span(Struct, frozen=True, order=True):
    """A stretch of a file. Lines and columns count from 1, in characters; offsets from 0 into the file's text."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int
    start: int = 0
    end: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


NOWHERE = Span("", 1, 1, 1, 1)


class Fix(Struct, frozen=True):
    """A certain mend by text splice: replace characters [start, end) of the file by ``text``."""

    start: int
    end: int
    text: str


class Diagnostic(Struct, frozen=True):
    """One mistake. ``help`` is the mend in words; ``notes`` are facts (what is in scope); ``related`` other places."""

    code: str
    message: str
    span: Span
    severity: Severity = "error"
    label: str = ""  # said beside the caret
    help: str = ""
    notes: tuple[str, ...] = ()
    related: tuple[tuple[str, Span], ...] = ()
    fix: Fix | None = None


def surely(word: str, meant: str) -> bool:
    """Whether ``meant`` is so near that it may be written in the place of ``word`` without asking."""
    return SequenceMatcher(None, word.lower(), meant.lower()).ratio() >= 0.8


def near(word: str, known: Iterable[str]) -> str | None:
    """The one known word that ``word`` most likely means, or None when nothing is near."""
    names = list(known)
    lowered = {name.lower(): name for name in names}
    if word.lower() in lowered:
        return lowered[word.lower()]
    found = get_close_matches(word, names, n=1, cutoff=0.6)
    return found[0] if found else None
