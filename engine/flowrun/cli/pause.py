"""flowrun pause: stop a flow, or all calls to a connection, beside whatever runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from flowrun.cli.main import EXIT_OK
from flowrun.cli.project import store_place, who
from flowrun.diagnostics import near
from flowrun.errors import ProjectError
from flowrun.flow import named_flow
from flowrun.project import Project, load_project
from flowrun.store.database import open_database
from flowrun.store.pauses import Pauses

_CONNECTION = "connection:"


@click.command(name="pause")
@click.argument("what", metavar="FLOW|connection:NAME")
@click.option("--reason", required=True, help="Why; shown wherever the pause is, and kept in the audit.")
@click.option("--env", help="The environment; without it the first of flowrun.yaml.")
def command(what: str, reason: str, env: str | None) -> int:
    """Stop a flow, or all calls to a connection, until `flowrun resume`. Webhooks are taken in all the same.

    Works beside a running service, and holds over restarts. Calls that are on their way are finished; within two
    seconds no other begins.

    Example: flowrun pause connection:s4 --reason "month end, no writes"
    """
    if not reason.strip():
        raise ProjectError("--reason is empty", help="say in a few words why, for whoever finds it paused")
    with pausing(env) as (project, pauses):
        kind, name = meant(project, what)
        made = pauses.pause(kind, name, reason.strip(), who())
        found = next((one for one in pauses.all() if (one.kind, one.name) == (kind, name)), None)
    if made or found is None:
        click.echo(f"paused {kind} {name}; next: flowrun resume {what}")
    else:
        click.echo(f"{found.words} (already)")
    return EXIT_OK


@contextmanager
def pausing(env: str | None) -> Iterator[tuple[Project, Pauses]]:
    """The pauses of an environment, also while a service holds its store."""
    project = load_project(Path.cwd())
    database = open_database(store_place(project, project.environment(env)), beside=True)
    try:
        yield project, Pauses(database)
    finally:
        database.close()


def meant(project: Project, what: str) -> tuple[str, str]:
    """(kind, name) of a flow's name or ``connection:NAME``. Raises ProjectError for an unknown one."""
    if not what.startswith(_CONNECTION):
        named_flow(project.root, what)
        return "flow", what
    name = what.removeprefix(_CONNECTION)
    if name not in project.connections:
        guess = near(name, project.connections)
        known = ", ".join(project.connections)
        raise ProjectError(
            f"no connection is named '{name}'",
            help=f"did you mean '{_CONNECTION}{guess}'?" if guess else f"flowrun.yaml has: {known}",
        )
    return "connection", name
