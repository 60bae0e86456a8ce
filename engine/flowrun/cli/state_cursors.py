"""flowrun state cursors: how far each source was read; moved by hand, taken back."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from flowrun.cli.main import EXIT_OK
from flowrun.cli.output import print_json
from flowrun.cli.project import known_flow, project_store, who
from flowrun.errors import ProjectError

_ENV = click.option("--env", help="The environment; without it the first of flowrun.yaml.")
_FORM = click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
_AGAIN = "the next run reads from there; records that came in before add nothing"


@click.group()
def cursors() -> None:
    """How far each source was read; move a cursor, or take a move back."""


@cursors.command(name="list")
@click.argument("flow", required=False)
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Of one flow's history.")
@_ENV
@_FORM
def list_(flow: str | None, limit: int, env: str | None, form: str) -> int:
    """List the cursor of each flow; with FLOW, where it stood before as well, the newest first.

    Example: flowrun state cursors list xcart-orders-to-s4
    """
    project, store = project_store(env)
    try:
        known_flow(project, store, flow)
        found = store.cursors.history(flow, limit) if flow else store.cursors.newest()
    finally:
        store.close()
    if form == "json":
        print_json(found)
        return EXIT_OK
    for one in found:
        at = datetime.fromtimestamp(one["at"], UTC).strftime("%Y-%m-%d %H:%M:%S")
        by = f"run {one['run']}" if one["run"] else "by hand"
        click.echo(f"{at}  {one['flow']}  {one['value']}  ({by})")
    if not found:
        click.echo("no source was read up to a cursor yet")
    return EXIT_OK


@cursors.command(name="set")
@click.argument("flow")
@click.argument("value")
@_ENV
def set_(flow: str, value: str, env: str | None) -> int:
    """Move the cursor of FLOW to VALUE, as `cursors list` shows one: back, to read again; forward, to leave out.

    Example: flowrun state cursors set xcart-orders-to-s4 2026-05-01T00:00:00Z
    """
    project, store = project_store(env)
    try:
        known_flow(project, store, flow)
        before = store.cursors.current(flow)
        store.cursors.set(flow, value, who())
    finally:
        store.close()
    click.echo(f"{flow}: {'no cursor' if before is None else before} → {value}; {_AGAIN}")
    return EXIT_OK


@cursors.command()
@click.argument("flow")
@_ENV
def undo(flow: str, env: str | None) -> int:
    """Take back the last move of the cursor of FLOW, whoever made it.

    Example: flowrun state cursors undo xcart-orders-to-s4
    """
    project, store = project_store(env)
    try:
        known_flow(project, store, flow)
        before = store.cursors.current(flow)
        if before is None:
            raise ProjectError(f"{flow} has no cursor", help="flowrun state cursors list")
        now = store.cursors.undo(flow, who())
    finally:
        store.close()
    if now is None:
        click.echo(f"{flow}: {before} → no cursor; the next run reads from the beginning")
    else:
        click.echo(f"{flow}: {before} → {now}; {_AGAIN}")
    return EXIT_OK
