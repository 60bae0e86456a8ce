"""flowrun dlq export, import: dead letters as JSON Lines, to be corrected by whatever tool a person likes.

A line holds the record and why it failed: nothing of connections, headers or answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from flowrun.cli.dlq_choose import CAUSE, ENV, counted
from flowrun.cli.main import EXIT_FINDINGS, EXIT_OK
from flowrun.cli.masks import REVEAL, revealed
from flowrun.cli.project import known_flow, project_store, who
from flowrun.cli.records import NOT_JSON
from flowrun.errors import ProjectError
from flowrun.logs import redact
from flowrun.showing import Masks
from flowrun.store import Row, Store, fingerprint
from flowrun.store.causes import cause_id
from flowrun.store.choosing import listed
from flowrun.values import decode_given, encode_json

_MUST = {"seq": int, "flow": str, "key": str, "was": str, "payload": dict}


@click.command()
@click.option("--flow", help="Only of this flow.")
@click.option("--queue", help="Only in this queue.")
@CAUSE
@REVEAL
@ENV
def export(flow: str | None, queue: str | None, cause: str | None, reveal: bool, env: str | None) -> int:
    """Print dead letters, one JSON line each. Correct `payload`, leave the rest, then: flowrun dlq import FILE.

    A masked field is `***`; left so, it comes back as it was.
    """
    project, store = project_store(env)
    try:
        known_flow(project, store, flow)
        rows = listed(store, flow, queue, cause)
        if reveal:
            revealed(store, rows, "dlq export")
    finally:
        store.close()
    masks = Masks(project)
    for row in rows:
        click.echo(encode_json(_line(row, row if reveal else masks.of(row.flow).row(row))).decode())
    click.echo(f"{counted(len(rows), 'dead letter')}", err=True)
    return EXIT_OK


def _line(row: Row, shown: Row) -> dict[str, Any]:
    """shown: as it may be seen. was: the fingerprint of the record as it is now, by which the import knows what was
    corrected meanwhile."""
    return {
        "seq": row.seq, "flow": row.flow, "key": row.key, "version": row.version, "queue": row.queue,
        "cause": cause_id(row), "class": row.error_class, "field": row.error_field,
        "message": redact(shown.error_message or ""), "help": redact(shown.error_help or ""), "place": row.error_place,
        "received_at": datetime.fromtimestamp(row.received_at, UTC).isoformat(timespec="seconds"),
        "edited": row.edited, "was": fingerprint(row.payload), "payload": shown.payload,
    }  # fmt: skip


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@ENV
def import_(file: Path, env: str | None) -> int:
    """Take corrected payloads back, marked as edited; all of the file or, when a line is wrong, nothing.

    Letters that are none any more stay as they are and are named; exit code 1 then.
    """
    lines = _read(file)
    project, store = project_store(env)
    try:
        changes, gone = _changes(store, lines, file, Masks(project))
        count = store.letters.edit_all(changes, who())
    finally:
        store.close()
    for words in gone:
        click.echo(words, err=True)
    unchanged = len(lines) - len(changes) - len(gone)
    click.echo(f"corrected {counted(count, 'letter')}; {unchanged} unchanged, {len(gone)} no dead letters any more")
    flows = sorted({row.flow for row, _ in changes})
    if flows:
        click.echo(f"next: flowrun dlq preview {flows[0]} --all")
    return EXIT_FINDINGS if gone else EXIT_OK


def _read(file: Path) -> dict[int, dict[str, Any]]:
    """Line number → line. Raises ProjectError."""
    found: dict[int, dict[str, Any]] = {}
    first_of: dict[int, int] = {}
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ProjectError(f"{file} is not UTF-8: {error.reason}", help="save it as UTF-8") from None
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            one = decode_given(line)
        except NOT_JSON as error:
            raise ProjectError(
                f"{file}:{number}: not JSON: {error}", help="one letter a line; nothing was imported"
            ) from None
        for name, kind in _MUST.items():
            if not isinstance(one, dict) or not isinstance(one.get(name), kind):
                raise ProjectError(
                    f"{file}:{number}: '{name}' is missing or of another kind",
                    help="keep each line as flowrun dlq export wrote it, but for payload; nothing was imported",
                )
        earlier = first_of.setdefault(one["seq"], number)
        if earlier != number:
            raise ProjectError(f"{file}:{number}: the same letter as in line {earlier}", help="keep one of them")
        found[number] = one
    return found


def _changes(
    store: Store, lines: dict[int, dict[str, Any]], file: Path, masks: Masks
) -> tuple[list[tuple[Row, dict[str, Any]]], Sequence[str]]:
    """(letter, corrected record) of the lines that differ, and words for those that are no letters any more."""
    rows = store.letters.by_seq([one["seq"] for one in lines.values()])
    changes: list[tuple[Row, dict[str, Any]]] = []
    gone: list[str] = []
    for number, one in lines.items():
        row = rows.get(one["seq"])
        if row is None or (row.flow, row.key) != (one["flow"], one["key"]):
            raise ProjectError(
                f"{file}:{number}: this store has no letter {one['seq']} of {one['flow']} '{one['key']}'",
                help="import into the environment it was exported from; nothing was imported",
            )
        if row.state != "dead":
            gone.append(f"{file}:{number}: {row.flow} {row.key} is {row.state}; left as it is")
            continue
        try:
            payload = masks.of(row.flow).restored(one["payload"], row.payload)
        except ProjectError as error:
            raise ProjectError(
                f"{file}:{number}: {error.message}", help=f"{error.help}; nothing was imported"
            ) from None
        if payload != row.payload:
            if fingerprint(row.payload) != one["was"]:
                raise ProjectError(
                    f"{file}:{number}: {row.flow} '{row.key}' was corrected since it was exported",
                    help="export again and correct that; nothing was imported",
                )
            changes.append((row, payload))
    return changes, gone
