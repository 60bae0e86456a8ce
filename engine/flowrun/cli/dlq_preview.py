"""flowrun dlq preview: what a replay would do now. Nothing is sent, nothing is changed."""

from __future__ import annotations

from typing import Any

import click

from flowrun.cli.dlq_choose import CAUSE, ENV, counted, pretty
from flowrun.cli.main import EXIT_FINDINGS, EXIT_OK
from flowrun.cli.project import known_flow, of_one_map, open_flow, project_store
from flowrun.logs import configure
from flowrun.masking import Mask, mask_of
from flowrun.store import Row
from flowrun.store.choosing import chosen

_MOST_CHANGES = 30  # lines of one example


@click.command()
@click.argument("flow")
@click.argument("keys", nargs=-1)
@CAUSE
@click.option("--all", "all_", is_flag=True, help="Every dead letter of the flow.")
@click.option("--bodies", is_flag=True, help="Every body that would be sent, one JSON line each, and nothing else.")
@ENV
def preview(flow: str, keys: tuple[str, ...], cause: str | None, all_: bool, bodies: bool, env: str | None) -> int:
    """Map dead letters through the flow and its tables as they are now: how many would be sent, how many still fail.

    An example shows the body, or what differs from the body that was sent. Exit code 1 while some still fail.
    """
    from flowrun.connections import opened, vault_of
    from flowrun.runner.preview import preview as look
    from flowrun.values import encode_json, system_clock

    configure("auto", "warning")
    project, store = project_store(env)
    try:
        known_flow(project, store, flow)
        rows = chosen(store, flow, keys, cause, all_, verb="preview")
        _, registry, checked, plan = open_flow(flow, env)
        of_one_map(checked, "dlq preview")
        vault = vault_of(project, store.database, now=system_clock)
        with opened(
            project, project.environment(env), checked.asked, registry, now=system_clock, vault=vault
        ) as connections:
            found = look(checked, plan, store, rows, connections, bodies=len(rows) if bodies else 1)
    finally:
        store.close()
    mask = mask_of(checked)
    if bodies:
        keyed = {row.seq: row for row in rows}
        for seq, body in found.bodies.items():
            row = keyed[seq]
            click.echo(encode_json({"seq": seq, "key": row.key, "body": mask.body(body, row.payload)}).decode())
        return EXIT_FINDINGS if found.failing else EXIT_OK
    click.echo(f"{counted(found.total, 'letter')} of {checked.name} through the flow as it is now; nothing was sent")
    for number, words in (
        (len(found.sent), "would be sent"),
        (len(found.asked), "may be at the target: asked first, sent when it is not there"),
        (len(found.known), "known to be at the target: confirmed without a send"),
    ):
        if number:
            click.echo(f"  {number} {words}")
    for reason, members in found.skipped.items():
        click.echo(f"  {len(members)} skipped by {reason}")
    for one in found.failing:
        row = mask.row(one.example)
        field = f"{row.error_field}: " if row.error_field else ""
        click.echo(f"  {len(one.rows)} still fail: {one.error_class}: {field}{row.error_message}  (as {row.key})")
        if row.error_help:
            click.echo(f"    = help: {row.error_help}")
    for seq, body in found.bodies.items():
        row = next(row for row in rows if row.seq == seq)
        _example(row, body, mask)
    named = f"--cause {cause}" if cause else "--all" if all_ else " ".join(keys)
    if found.total > sum(len(one.rows) for one in found.failing):
        click.echo(f"next: flowrun dlq replay {checked.name} {named}")
    return EXIT_FINDINGS if found.failing else EXIT_OK


def _example(row: Row, body: dict[str, Any], mask: Mask) -> None:
    from flowrun.runner.preview import differences

    if row.body is None:
        click.echo(f"{row.key} would be sent as:\n{pretty(mask.body(body, row.payload))}")
        return
    changes = differences(row.body, body)
    if not changes:
        click.echo(f"{row.key} would be sent as it was before")
        return
    click.echo(f"{row.key} would be sent with:")
    for path, old, new in changes[:_MOST_CHANGES]:
        before, after = (_shown(mask.body(mask.value(path, one), row.payload)) for one in (old, new))
        click.echo(f"  {path}: {before} → {after}")
    if len(changes) > _MOST_CHANGES:
        click.echo(f"  … and {len(changes) - _MOST_CHANGES} more")


def _shown(value: Any) -> str:
    from flowrun.values import encode_json

    return "–" if value is None else encode_json(value).decode()
