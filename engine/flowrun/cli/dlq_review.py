"""flowrun dlq review: what an on_error flagged for a person to look at, delivered or not."""

from __future__ import annotations

import click

from flowrun.cli.dlq_choose import ENV, counted
from flowrun.cli.main import EXIT_FINDINGS, EXIT_OK
from flowrun.cli.project import known_flow, project_store, who
from flowrun.errors import ProjectError
from flowrun.showing import Masks
from flowrun.store import Row, Store


@click.group(invoke_without_command=True)
@click.option("--flow", help="Only of this flow.")
@ENV
@click.pass_context
def review(ctx: click.Context, flow: str | None, env: str | None) -> int:
    """List what was flagged: duplicates, conflicts. Exit code 1 while something waits to be looked at."""
    if ctx.invoked_subcommand is not None:
        return EXIT_OK
    project, store = project_store(env)
    try:
        known_flow(project, store, flow)
        rows = Masks(project).rows(store.letters.flagged(flow))
        receipts = {row.seq: store.receipt(row.seq) for row in rows if row.state == "confirmed"}
    finally:
        store.close()
    for row in rows:
        receipt = receipts.get(row.seq)
        where = f" as {receipt['target_id']}" if receipt and receipt["target_id"] else ""
        click.echo(f"{row.flow} {row.key}  {row.flag}: {row.state}{where}")
        if row.error_class:
            field = f"{row.error_field}: " if row.error_field else ""
            click.echo(f"  {row.error_class}: {field}{row.error_message}")
        elif row.reason:
            click.echo(f"  {row.reason}")
    click.echo(f"{counted(len(rows), 'record')} to look at")
    confirmed = next((row for row in rows if row.state == "confirmed"), None)
    if confirmed is not None:
        click.echo(f"next: flowrun dlq review done {confirmed.flow} {confirmed.key} --note WORDS")
    elif rows:
        click.echo(f"next: flowrun dlq show {rows[0].flow} {rows[0].key}")
    return EXIT_FINDINGS if rows else EXIT_OK


@review.command()
@click.argument("flow")
@click.argument("keys", nargs=-1, required=True)
@click.option("--note", required=True, help="What was found, or done about it; kept in the audit.")
@ENV
def done(flow: str, keys: tuple[str, ...], note: str, env: str | None) -> int:
    """Take delivered records from the review queue. A dead letter leaves it when it is replayed or discarded."""
    if not note.strip():
        raise ProjectError("--note is empty", help="say in a few words what was found")
    project, store = project_store(env)
    try:
        known_flow(project, store, flow)
        rows = _flagged(store, flow, keys)
        count = store.letters.reviewed(rows, note.strip(), who())
    finally:
        store.close()
    click.echo(f"looked at {count}")
    return EXIT_OK


def _flagged(store: Store, flow: str, keys: tuple[str, ...]) -> list[Row]:
    rows = store.letters.flagged(flow, keys)
    dead = [row.key for row in rows if row.state == "dead"]
    if dead:
        raise ProjectError(
            f"{flow} '{dead[0]}' is a dead letter", help=f"flowrun dlq replay {flow} {dead[0]}, or discard it"
        )
    for key in keys:
        if not any(row.key == key for row in rows):
            raise ProjectError(f"{flow} '{key}' is not to be looked at", help=f"flowrun dlq review --flow {flow}")
    return rows
