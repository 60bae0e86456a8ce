"""flowrun dlq edit: correct the source records of dead letters."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from flowrun.children import only_harmless
from flowrun.cli.dlq_choose import CAUSE, ENV, counted, pretty
from flowrun.cli.main import EXIT_OK
from flowrun.cli.project import known_flow, project_store, who
from flowrun.cli.records import NOT_JSON
from flowrun.errors import ProjectError
from flowrun.masking import Mask
from flowrun.showing import Masks
from flowrun.store.choosing import of_cause, one_letter
from flowrun.store.correcting import put
from flowrun.values import decode_given


@click.command()
@click.argument("flow")
@click.argument("key", required=False)
@click.option(
    "--set", "changes", multiple=True, metavar="PATH=VALUE", help="items[0].sku=AB-1; the value as JSON, or text."
)
@click.option(
    "--file",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The whole corrected record, JSON.",
)
@CAUSE
@ENV
def edit(
    flow: str, key: str | None, changes: tuple[str, ...], file: Path | None, cause: str | None, env: str | None
) -> int:
    """Correct the source record; with neither --set nor --file in your editor. --set corrects a whole cause too.

    A row of a lookup is corrected in its file: `flowrun dlq show` names the line, `preview` shows the effect.
    """
    if bool(key) == bool(cause):
        raise ProjectError("which one?", help=f"flowrun dlq edit {flow} KEY, or --cause ID")
    if cause and not changes:
        raise ProjectError("a whole cause is corrected with --set", help="or one by one; or flowrun dlq export, import")
    project, store = project_store(env)
    try:
        known_flow(project, store, flow)
        rows = of_cause(store, flow, cause) if cause else [one_letter(store, flow, key or "")]
        masks = Masks(project)
        corrected = [(row, _corrected(row.payload, changes, file, masks.of(row.flow))) for row in rows]
        changed = [(row, payload) for row, payload in corrected if payload != row.payload]
        if not changed:
            click.echo("nothing changed")
            return EXIT_OK
        count = store.letters.edit_all(changed, who())
    finally:
        store.close()
    named = f"--cause {cause}" if cause else key
    if cause:
        click.echo(f"corrected {counted(count, 'letter')} of {flow}; next: flowrun dlq preview {flow} {named}")
    else:
        click.echo(f"corrected {flow} {named}; next: flowrun dlq replay {flow} {named}")
    return EXIT_OK


def _corrected(before: dict[str, Any], changes: Sequence[str], file: Path | None, mask: Mask) -> dict[str, Any]:
    payload: Any = copy.deepcopy(before)
    if file is not None:
        payload = mask.restored(_decoded(file.read_bytes()), before)
    elif changes:
        for change in changes:
            path, equals, text = change.partition("=")
            if not equals:
                raise ProjectError(f"'{change}' is not PATH=VALUE")
            _set(payload, path, text)
    else:
        with only_harmless():
            written = click.edit(pretty(mask.record(payload)) + "\n", extension=".json")
        payload = mask.restored(_decoded(written), before) if written else payload
    if not isinstance(payload, dict):
        raise ProjectError("a record is an object {…}")
    return payload


def _decoded(text: str | bytes) -> Any:
    try:
        return decode_given(text)
    except NOT_JSON as error:
        raise ProjectError(f"not JSON: {error}") from None


def _set(payload: Any, path: str, text: str) -> None:
    try:
        value = decode_given(text)
    except ValueError:
        value = text
    put(payload, path, lambda old: _like(old, value, text))


def _like(old: Any, new: Any, text: str) -> Any:
    """Text stays text: --set customer_id=42 over "41" gives "42"."""
    return text if isinstance(old, str) and not isinstance(new, str) else new
