"""Edits that would mend what drifted, as a patch: text is spliced at its place, so comments and layout stay."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import unified_diff
from pathlib import Path

from flowrun.drift.findings import Finding
from flowrun.flow.model import Flow, Lookup
from flowrun.lookups import Key

FILL_IN = "FILL-IN"
"""Stands for an answer that only a person knows."""


@dataclass(slots=True)
class Patch:
    """texts: file → (before, after). left: what cannot be proposed, and why."""

    texts: dict[str, tuple[str, str]] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    def text(self) -> str:
        """A unified diff for ``git apply`` or ``patch -p1``."""
        parts: list[str] = []
        for file, (before, after) in sorted(self.texts.items()):
            for line in unified_diff(before.splitlines(True), after.splitlines(True), f"a/{file}", f"b/{file}"):
                parts.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
        return "".join(parts)


def propose(flow: Flow, root: Path, findings: Iterable[Finding], contracts: Mapping[str, str] | None = None) -> Patch:
    """Nothing is written. contracts: file → the live system's own, for those that are pinned."""
    made = Patch()
    splices: dict[str, set[tuple[int, int, str]]] = {}
    for one in findings:
        if one.kind == "renamed":
            _rename(made, splices, one)
        elif one.kind == "no row":
            _row(made, root, flow.lookups[one.lookup], one)
        elif one.kind != "contract":
            made.left.append(f"{one.path}: {one.kind}: what should become of it is for a person to say")
    for file, edits in splices.items():
        _edit(made, root, file, lambda text, edits=edits: _spliced(text, edits))  # type: ignore[misc]
    for file, text in (contracts or {}).items():
        _edit(made, root, file, lambda _, text=text: text)  # type: ignore[misc]
    return made


def _rename(made: Patch, splices: dict[str, set[tuple[int, int, str]]], one: Finding) -> None:
    """In the places that read the field itself; those that read below it name it, too, and are left to a person."""
    last = one.path.rpartition(".")[2]
    for place in one.places:
        whole = place.path[-1:] == (last,) and one.path.count(".") + one.path.count("[]") == len(place.path)
        if whole and place.start is not None and place.end is not None and one.renamed_to.isidentifier():
            splices.setdefault(place.file, set()).add((place.start, place.end, one.renamed_to))
        else:
            made.left.append(f"{place.file}:{place.line}: {one.path} → {one.renamed_to}, by hand")


def _spliced(text: str, edits: set[tuple[int, int, str]]) -> str:
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _row(made: Patch, root: Path, lookup: Lookup, one: Finding) -> None:
    if not one.codes:
        made.left.append(f"{lookup.span.file}:{lookup.span.line}: a row for codes that are masked, by hand")
        return
    if lookup.kind != "file" or not str(lookup.file).endswith(".csv"):
        codes = ", ".join(", ".join(code) for code in one.codes)
        made.left.append(f"{lookup.span.file}:{lookup.span.line}: a row for {codes}, by hand")
        return
    _edit(made, root, str(lookup.file), lambda text: _with_rows(text, lookup, one.codes))


def _with_rows(text: str, lookup: Lookup, codes: Iterable[Key]) -> str:
    header = next(csv.reader(io.StringIO(text)), [])
    end = "\r\n" if "\r\n" in text else "\n"
    lines = "" if text.endswith("\n") or not text else end
    for code in codes:
        parts = dict(zip(lookup.key_columns, (code,) if isinstance(code, str) else code, strict=False))
        cells = [parts.get(name, FILL_IN if name == lookup.returns else "") for name in header]
        out = io.StringIO()
        csv.writer(out, lineterminator=end).writerow(cells)
        lines += out.getvalue()
    return text + lines


def _edit(made: Patch, root: Path, file: str, change: Callable[[str], str]) -> None:
    try:
        with (root / file).open(encoding="utf-8", newline="") as read:
            whole = read.read()
    except (OSError, UnicodeDecodeError) as error:
        made.left.append(f"{file}: {error}")
        return
    mark, text = ("\ufeff", whole[1:]) if whole.startswith("\ufeff") else ("", whole)
    before, current = made.texts.get(file, (whole, mark + text))
    made.texts[file] = (before, mark + change(current.removeprefix(mark) if mark else current))
