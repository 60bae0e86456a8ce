"""Records from files for commands that take --input, and cross-references for mapping without a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flowrun.errors import ProjectError
from flowrun.flow.model import Flow
from flowrun.lookups import Key, Snapshot
from flowrun.project import Project
from flowrun.values import decode_json


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file, or of a JSON file that holds a list or one object. Raises ProjectError."""
    with path.open("rb") as source:
        head = source.read(1)
    if head == b"[" or path.suffix == ".json":
        whole = _decode(path.read_bytes(), path, 1)
        rows = whole if isinstance(whole, list) else [whole]
        for number, row in enumerate(rows, 1):
            yield _object(row, path, number)
        return
    with path.open("rb") as source:
        for number, line in enumerate(source, 1):
            if line.strip():
                yield _object(_decode(line, path, number), path, number)


def _decode(data: bytes, path: Path, line: int) -> Any:
    try:
        return decode_json(data)
    except ValueError as error:
        raise ProjectError(f"{path}:{line}: not JSON: {error}") from None


def _object(row: Any, path: Path, line: int) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise ProjectError(f"{path}:{line}: a record is an object {{…}}")
    return row


def xref_snapshot(project: Project, flow: Flow, env: str | None, xref: Path | None) -> Snapshot:
    """Cross-references from the given file, else from the project's store when it has one."""
    snapshot = Snapshot(closed=True)
    given: dict[str, dict[str, str]] = {}
    if xref is not None:
        from flowrun.document import load
        from flowrun.flow.reading import Reader

        document = load(xref.read_text(encoding="utf-8"), str(xref))
        given = Reader(document).plain(document.root) or {}
    for name, lookup in flow.lookups.items():
        if lookup.kind == "xref":
            rows = {str(k): str(v) for k, v in (given.get(lookup.xref or "") or {}).items()}
            answers: dict[Key, str] = {}
            answers.update({v: k for k, v in rows.items()} if lookup.reverse else rows)
            snapshot.add(name, answers)
    return snapshot
