"""Comments that take a finding away: ``# flowrun: ignore[FR…]``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from flowrun.diagnostics import Diagnostic
from flowrun.document import Document, Scalar, walk

MARK = "flowrun: ignore["
_IGNORE = re.compile(r"#\s*flowrun:\s*ignore\[([^\]]*)\]")


def unignored(document: Document, diagnostics: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Without those that a comment ``# flowrun: ignore[FR…]`` names, on its own line or the line above; an ignore
    that ignores nothing is a lint."""
    if MARK not in document.text:
        return list(diagnostics)
    inside = [(n.start, n.end) for n in walk(document.root) if isinstance(n, Scalar)]
    marks: dict[int, tuple[set[str], int, int]] = {}
    for match in _IGNORE.finditer(document.text):
        if any(start <= match.start() < end for start, end in inside):
            continue  # the words stand in a value
        line, _ = document.place(match.start())
        marks[line] = ({code.strip() for code in match.group(1).split(",")}, match.start(), match.end())
    used: set[tuple[int, str]] = set()
    kept = []
    for d in diagnostics:
        place = next((n for n in (d.span.line, d.span.line - 1) if n in marks and d.code in marks[n][0]), None)
        if place is None:
            kept.append(d)
        else:
            used.add((place, d.code))
    for line, (codes, start, end) in marks.items():
        for code in sorted(codes):
            if (line, code) not in used:
                message = f"nothing here to ignore for {code}"
                at = document.span(start, end)
                kept.append(Diagnostic("FR190", message, at, "lint", help="take the comment away"))
    return sorted(kept, key=lambda d: d.span.start)
