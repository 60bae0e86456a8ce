"""Words on a screen, and the same findings for machines: text, JSON, SARIF, GitHub, GitLab, JUnit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click

from flowrun.diagnostics import Diagnostic, Span
from flowrun.document import Document
from flowrun.errors import ConnectorError

FORMATS = ("text", "json", "sarif", "github", "gitlab", "junit")
_COLOURS = {"error": "red", "warning": "yellow", "lint": "cyan"}


def print_json(value: Any) -> None:
    """Indented, exact numbers, no secret in any text."""
    import msgspec

    from flowrun.logs import without_secrets
    from flowrun.values import encode_json

    click.echo(msgspec.json.format(encode_json(without_secrets(value)), indent=2).decode())


def say_outside(error: ConnectorError, then: str) -> None:
    """What the outside world said, what to do about it, and what that means here."""
    from flowrun.logs import redact

    click.echo(redact(f"error: {error.error_class}: {error.message}"), err=True)
    if error.help:
        click.echo(redact(f"  = help: {error.help}"), err=True)
    click.echo(then, err=True)


def print_diagnostics(
    diagnostics: Iterable[Diagnostic], documents: Mapping[str, Document] | None = None, *, err: bool = False
) -> None:
    for diagnostic in diagnostics:
        click.echo(as_text(diagnostic, (documents or {}).get(diagnostic.span.file)), err=err)


def as_text(d: Diagnostic, document: Document | None) -> str:
    """What, where, why it is wrong, how to put it right."""
    severity = click.style(f"{d.severity}[{d.code}]", fg=_COLOURS[d.severity], bold=True)
    lines = [f"{d.span}: {severity}: {d.message}"]
    if document is not None and d.span.end > 0:
        lines += _caret(d.span, document, d.label, _COLOURS[d.severity], hide=d.code == "FR197")
    elif d.label:
        lines.append(f"      = {d.label}")
    for words, span in d.related:
        lines.append(f"      = {words}: {span}")
    if d.help:
        lines.append(f"      = help: {d.help}")
    lines += [f"      = {note}" for note in d.notes]
    return "\n".join(lines)


def _caret(span: Span, document: Document, label: str, colour: str, *, hide: bool) -> list[str]:
    """The line and a mark under the place. hide: what follows the place is a secret, which no screen should show."""
    text = document.line(span.line).replace("\t", " ")
    if hide:
        text = text[: span.end_column - 1] + " ***"
    end = span.end_column if span.end_line == span.line else len(text) + 1
    start = span.column - 1
    if len(text) > 160:  # a window around the place
        left = max(0, min(start - 60, len(text) - 150))
        text, start, end = "…" + text[left + 1 : left + 150], start - left, min(end - left, 150)
    marks = "^" * max(1, end - 1 - start)
    pad = "".join("  " if _wide(c) else " " for c in text[:start])
    return [
        f"{span.line:>5} | {text}",
        f"      | {pad}{click.style(marks, fg=colour)}" + (f" {label}" if label else ""),
    ]


def _wide(char: str) -> bool:
    import unicodedata

    return unicodedata.east_asian_width(char) in ("W", "F")


def render(form: str, diagnostics: Sequence[Diagnostic], files: Sequence[str]) -> str:
    """The findings in a format for machines."""
    makers: dict[str, Callable[[Sequence[Diagnostic], Sequence[str]], str]] = {
        "json": _json, "sarif": _sarif, "github": _github, "gitlab": _gitlab, "junit": _junit,
    }  # fmt: skip
    return makers[form](diagnostics, files)


def _words(d: Diagnostic) -> str:
    return d.message + "".join(f"; {part}" for part in (d.label, d.help) if part)


def _place(span: Span) -> dict[str, Any]:
    return {"file": span.file, "line": span.line, "column": span.column, "end_line": span.end_line,
            "end_column": span.end_column}  # fmt: skip


def _json(diagnostics: Sequence[Diagnostic], files: Sequence[str]) -> str:
    found = [
        {
            "code": d.code,
            "severity": d.severity,
            "message": d.message,
            **_place(d.span),
            "label": d.label,
            "help": d.help,
            "notes": list(d.notes),
            "related": [{"message": words, **_place(span)} for words, span in d.related],
            "fix": {"start": d.fix.start, "end": d.fix.end, "text": d.fix.text} if d.fix else None,
        }
        for d in diagnostics
    ]
    return json.dumps({"files": list(files), "findings": found}, indent=2, ensure_ascii=False)


def _sarif(diagnostics: Sequence[Diagnostic], files: Sequence[str]) -> str:
    from urllib.parse import quote

    from flowrun import __version__
    from flowrun.codes import CODES

    def location(span: Span) -> dict[str, Any]:
        region = {"startLine": span.line, "startColumn": span.column, "endLine": span.end_line,
                  "endColumn": span.end_column}  # fmt: skip
        return {"physicalLocation": {"artifactLocation": {"uri": quote(span.file)}, "region": region}}

    rules = sorted({d.code for d in diagnostics})
    level = {"error": "error", "warning": "warning", "lint": "note"}
    return json.dumps(
        {
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [
                {
                    "tool": {
                        "driver": {
                            "name": "flowrun",
                            "version": __version__,
                            "rules": [
                                {
                                    "id": code,
                                    "shortDescription": {"text": CODES[code].title},
                                    "help": {"text": CODES[code].text},
                                }
                                for code in rules
                            ],
                        }
                    },
                    "columnKind": "unicodeCodePoints",
                    "results": [
                        {
                            "ruleId": d.code,
                            "level": level[d.severity],
                            "message": {"text": _words(d)},
                            "locations": [location(d.span)],
                            "relatedLocations": [
                                {**location(span), "message": {"text": words}} for words, span in d.related
                            ],
                        }
                        for d in diagnostics
                    ],
                }
            ],
        },
        indent=2,
        ensure_ascii=False,
    )


def _github(diagnostics: Sequence[Diagnostic], files: Sequence[str]) -> str:
    level = {"error": "error", "warning": "warning", "lint": "notice"}

    def safe(text: str, extra: bool = False) -> str:
        text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        return text.replace(":", "%3A").replace(",", "%2C") if extra else text

    return "\n".join(
        f"::{level[d.severity]} file={safe(d.span.file, True)},line={d.span.line},col={d.span.column},"
        f"endLine={d.span.end_line},endColumn={d.span.end_column},title={d.code}::{safe(_words(d))}"
        for d in diagnostics
    )


def _gitlab(diagnostics: Sequence[Diagnostic], files: Sequence[str]) -> str:
    import hashlib

    severity = {"error": "major", "warning": "minor", "lint": "info"}
    return json.dumps(
        [
            {
                "description": f"{d.code}: {_words(d)}",
                "check_name": d.code,
                "fingerprint": hashlib.sha256(f"{d.code}{d.span}{d.message}".encode()).hexdigest(),
                "severity": severity[d.severity],
                "location": {"path": d.span.file, "lines": {"begin": d.span.line, "end": d.span.end_line}},
            }
            for d in diagnostics
        ],
        indent=2,
        ensure_ascii=False,
    )


def _junit(diagnostics: Sequence[Diagnostic], files: Sequence[str]) -> str:
    from flowrun.cli.junit import Case, junit

    by_file: dict[str, list[Diagnostic]] = {file: [] for file in files}
    for d in diagnostics:
        by_file.setdefault(d.span.file, []).append(d)
    cases = []
    for file, found in by_file.items():
        words = [(d, f"{d.span}: {d.severity}[{d.code}]: {_words(d)}") for d in found]
        failures = [(d.code, d.message, said) for d, said in words if d.severity == "error"]
        cases.append(Case("flowrun.validate", file, failures, [said for d, said in words if d.severity != "error"]))
    return junit("flowrun validate", cases)
