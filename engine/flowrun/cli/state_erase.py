"""flowrun state prune, forget: what is kept no longer than it must be, and what a person asked to be erased."""

from __future__ import annotations

from pathlib import Path

import click

from flowrun.cli.main import EXIT_OK
from flowrun.cli.project import known_flow, project_store, store_place, who
from flowrun.errors import ProjectError
from flowrun.flow.reading import seconds
from flowrun.project import load_project
from flowrun.store import Row, Store
from flowrun.store import schema as t
from flowrun.store.database import spend_ballast
from flowrun.store.forgetting import forget as erase
from flowrun.store.forgetting import holding, sweep
from flowrun.store.pruning import prune as take_out

_ENV = click.option("--env", help="The environment; without it the first of flowrun.yaml.")
_SHOWN = 20


@click.command()
@click.option("--older-than", "age", help="How long ago it must have ended: 90d, 36h; else `keep` of flowrun.yaml.")
@click.option("--flow", help="Only of this flow.")
@click.option("--dry-run", is_flag=True, help="Say how many records would go; change nothing.")
@click.option("--compact", is_flag=True, help="Give the room back to the disk too; takes as much room while it works.")
@_ENV
def prune(age: str | None, flow: str | None, dry_run: bool, compact: bool, env: str | None) -> int:
    """Take out what ended long ago: records, their history, what was sent, runs, old cursors, alerts that are over.

    What waits, dead letters, cross-references and what duplicates are known by stay.

    Example: flowrun state prune --older-than 90d --dry-run
    """
    if not dry_run:
        _make_room(env)
    project, store = project_store(env)
    try:
        known_flow(project, store, flow)
        chosen = age or project.store_keep
        if not chosen:
            raise ProjectError(
                "how long is a record kept?", help="--older-than 90d, or in flowrun.yaml: store: { keep: 90d }"
            )
        before = store.time() - _seconds(chosen)
        gone = take_out(store.database, before=before, flow=flow, who=who(), dry_run=dry_run)
        if compact and not dry_run:
            sweep(store.database)
    finally:
        store.close()
    said = ", ".join(f"{count} {name}" for name, count in gone.items() if count) or "nothing"
    click.echo(f"would take out {said}" if dry_run else f"took out {said}")
    return EXIT_OK


def _make_room(env: str | None) -> None:
    """On a full disk not even a deletion can be noted."""
    project = load_project(Path.cwd())
    place = store_place(project, project.environment(env))
    if isinstance(place, Path):
        spend_ballast(place)


@click.command()
@click.argument("key", required=False)
@click.option("--flow", help="The flow that KEY is a key of.")
@click.option("--containing", help="Every record of every flow that holds this text, instead of a key.")
@click.option("--reason", required=True, help="Why, for the audit; without the data itself.")
@click.option("--discard", is_flag=True, help="Dead letters too: they are discarded with the reason.")
@click.option("--yes", is_flag=True, help="Do it; without it the records are only listed.")
@_ENV
def forget(
    key: str | None, flow: str | None, containing: str | None, reason: str, discard: bool, yes: bool, env: str | None
) -> int:
    """Erase what records hold of a person; that they were, under their keys, and how they ended stays.

    Backups that were made before still hold it. Keys stay: by them the same record is known when it comes again.

    Example: flowrun state forget --containing ann@example.com --reason "request of 4 May"
    """
    if (containing is None) == (key is None or flow is None):
        raise click.UsageError("say KEY with --flow, or --containing TEXT")
    project, store = project_store(env)
    try:
        known_flow(project, store, flow)
        rows = _chosen(store, flow, key, containing)
        for row in rows[:_SHOWN]:
            click.echo(f"{row.flow} {row.key} #{row.seq}: {row.state}")
        if len(rows) > _SHOWN:
            click.echo(f"… and {len(rows) - _SHOWN} more")
        if not yes:
            click.echo(f"{len(rows)} records; nothing was erased: say --yes")
            return EXIT_OK
        dead = [row for row in rows if row.state == "dead"]
        waiting = [row for row in rows if row.state in t.OPEN]
        if waiting or (dead and not discard):
            row = (waiting or dead)[0]
            raise ProjectError(
                f"{row.flow} {row.key} is {row.state}: what is still to be delivered cannot be erased",
                help="run its flow first" if waiting else "--discard gives dead letters up; nothing was erased",
            )
        if dead:
            store.letters.discard(dead, reason, who())
        erase(store.database, rows, reason=reason, who=who())
    finally:
        store.close()
    click.echo(f"erased {len(rows)} records; backups made before still hold them")
    return EXIT_OK


def _chosen(store: Store, flow: str | None, key: str | None, containing: str | None) -> list[Row]:
    rows = holding(store.database, containing) if containing else store.records(flow=flow, key=key, limit=1_000_000)
    if not rows:
        raise ProjectError(f"no record holds '{containing}'" if containing else f"{flow} has no record '{key}'")
    return rows


def _seconds(text: str) -> float:
    found = seconds(text)
    if found is None:
        raise ProjectError(f"'{text}' is no time to keep records", help="such as 90d or 36h")
    return float(found)
