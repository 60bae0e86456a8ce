"""Records from files for commands that take --input, and cross-references for mapping without a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flowrun.diagnostics import near
from flowrun.errors import ProjectError
from flowrun.flow.model import Flow
from flowrun.lookups import Key, Snapshot
from flowrun.values import decode_given

NOT_JSON = (ValueError, RecursionError, ArithmeticError)
"""What reading bad JSON raises: bad text, too deep a nesting, a number beyond any exponent."""


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file, or of a JSON file that holds a list or one object. Raises ProjectError."""
    with path.open("rb") as source:
        head = source.read(4).removeprefix(b"\xef\xbb\xbf")
    if head[:1] == b"[" or path.suffix == ".json":
        whole = _decode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"), path, 1)
        rows = whole if isinstance(whole, list) else [whole]
        for number, row in enumerate(rows, 1):
            yield _object(row, f"{path}: record {number}")
        return
    with path.open("rb") as source:
        for number, line in enumerate(source, 1):
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if line.strip():
                yield _object(_decode(line, path, number), f"{path}:{number}")


def _decode(data: bytes, path: Path, line: int) -> Any:
    try:
        return decode_given(data)
    except NOT_JSON as error:
        raise ProjectError(
            f"{path}:{line}: not JSON: {error}", help="one record a line, or a list of records"
        ) from None


def _object(row: Any, place: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise ProjectError(f"{place}: a record is an object {{…}}")
    return row


def grouped(flow: Flow, plan: Any, records: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What a plan is given: each record, or for a flow with ``group_by`` each group ``{"key": …, "rows": […]}``."""
    if flow.source.group_by is None:
        yield from records
        return
    groups: dict[str, list[Any]] = {}
    for record in records:
        groups.setdefault(str(plan.group_of(record)), []).append(record)
    for name, rows in groups.items():
        yield {"key": name, "rows": rows}


def given_xrefs(flow: Flow, path: Path | None) -> Snapshot:
    """Cross-references from a file ``name: {from: to}``; a key that is not in it has no row. Raises ProjectError."""
    snapshot = Snapshot(closed=True)
    given = _tables(path) if path is not None else {}
    lookups = {name: lookup for name, lookup in flow.lookups.items() if lookup.kind == "xref"}
    wanted = [lookup.xref or name for name, lookup in lookups.items()]
    for name in given:
        guess = near(name, wanted) if name not in wanted else None
        if guess is not None and guess not in given:
            raise ProjectError(f"{path}: the flow has no cross-reference '{name}'", help=f"did you mean '{guess}'?")
    for name, lookup in lookups.items():
        rows = given.get(lookup.xref or name, {})
        answers: dict[Key, str] = {}
        answers.update({other: one for one, other in rows.items()} if lookup.reverse else rows)
        snapshot.add(name, answers)
    return snapshot


def _tables(path: Path) -> dict[str, dict[str, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ProjectError(f"{path} is not UTF-8 text", help="save it as UTF-8") from None
    if path.suffix == ".json":
        given = _decode(text.encode(), path, 1)
    else:
        from flowrun.document import parse
        from flowrun.flow.reading import Reader

        document = parse(text, str(path))
        if document.problems:
            first = document.problems[0]
            raise ProjectError(f"{first.span}: {first.message}", help=first.help)
        given = Reader(document).plain(document.root) if document.root is not None else {}
    if not isinstance(given, Mapping) or not all(isinstance(rows, Mapping) for rows in given.values()):
        raise ProjectError(f"{path} holds no cross-references", help='customers: { "42": "17100001" }')
    return {str(name): {str(k): str(v) for k, v in rows.items()} for name, rows in given.items()}
