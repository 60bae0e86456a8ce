"""flowrun state backup, restore: the whole store in one file, and back."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from flowrun.cli.main import EXIT_FINDINGS, EXIT_OK
from flowrun.cli.project import held_store, is_there, opened_store, store_place
from flowrun.errors import ProjectError
from flowrun.project import load_project
from flowrun.store.backup import backup as make
from flowrun.store.backup import clear
from flowrun.store.backup import restore as bring_back
from flowrun.store.verifying import verify

_ENV = click.option("--env", help="The environment; without it the first of flowrun.yaml.")
_FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


@click.command()
@_FILE
@_ENV
def backup(file: Path, env: str | None) -> int:
    """Write the whole store into FILE, as it stands at this moment; others may go on working.

    A backup of either database goes into either. Stored tokens are in it, encrypted; the key is not.

    Example: flowrun state backup shop-2026-05-04.backup --env prod
    """
    project = load_project(Path.cwd())
    place = store_place(project, project.environment(env))
    if not is_there(place):
        raise ProjectError(f"there is no store at {place} yet", help="flowrun run FLOW")
    held = held_store(project, project.environment(env))
    try:
        counts = make(held.database, file)
    finally:
        held.close()
    click.echo(f"{file}: {counts['records']} records, {sum(counts.values())} rows of {len(counts)} tables")
    return EXIT_OK


@click.command()
@_FILE
@click.option("--force", is_flag=True, help="Into a store that holds something: it is backed up first, beside FILE.")
@_ENV
def restore(file: Path, force: bool, env: str | None) -> int:
    """Fill an empty store from FILE, then look whether it is whole.

    What was sent after the backup was made is not known to it: look with flowrun plan before a flow runs again.

    Example: flowrun state restore shop-2026-05-04.backup --env prod
    """
    if not file.is_file():
        raise ProjectError(f"there is no file {file}")
    project = load_project(Path.cwd())
    store = opened_store(project, project.environment(env))
    try:
        if force and any(sum(one["records"].values()) for one in store.summary()):
            before = Path(f"{file}.before-{datetime.now(UTC):%Y%m%dT%H%M%S}")
            make(store.database, before)
            click.echo(f"what the store held is in {before}")
            clear(store.database)
        counts = bring_back(file, store.database)
        findings = verify(store.database)
    finally:
        store.close()
    click.echo(f"restored {counts['records']} records, {sum(counts.values())} rows of {len(counts)} tables")
    for one in findings:
        click.echo(f"{one.name}: {one.what} ({one.count}): {', '.join(one.examples)}")
    click.echo("next: flowrun plan FLOW, for what was sent after the backup was made")
    return EXIT_FINDINGS if findings else EXIT_OK
