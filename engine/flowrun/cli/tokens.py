"""flowrun tokens: who may ask the admin API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click

from flowrun.cli.main import EXIT_OK
from flowrun.cli.project import store_place, who
from flowrun.errors import ProjectError
from flowrun.project import load_project
from flowrun.store.access import ROLES, Access
from flowrun.store.database import open_database

_ENV = click.option("--env", help="The environment; without it the first of flowrun.yaml.")
_LONGEST = 100  # characters of a name


@click.group(name="tokens")
def command() -> None:
    """Who may ask the admin API of `flowrun serve --admin-port`: add, list, revoke; beside a running service."""


@command.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(ROLES),
    required=True,
    help="viewer: look; operator: correct, replay, pause as well; admin: all.",
)
@_ENV
def add(name: str, role: str, env: str | None) -> int:
    """Make a token and print it, this once: only its hash is kept. NAME stands in the audit for what it did.

    Example: flowrun tokens add ann --role operator --env prod
    """
    if not name.strip() or len(name) > _LONGEST or not name.isprintable():
        raise ProjectError(f"a token's name is printable text of 1 to {_LONGEST} characters")
    with _access(env) as access:
        token = access.add(name.strip(), role, who())
    click.echo(f"{name.strip()} ({role}); it is not shown again", err=True)
    click.echo(token)
    return EXIT_OK


@command.command(name="list")
@_ENV
def list_(env: str | None) -> int:
    """List names, roles, when they were used last, and which are revoked; never the tokens."""
    with _access(env) as access:
        found = access.all()
    for one in found:
        state = f"revoked {_time(one.revoked_at)}" if one.revoked_at else f"used {_time(one.used_at)}"
        click.echo(f"{one.name}  {one.role}  made {_time(one.created_at)} by {one.created_by}  {state}")
    if not found:
        click.echo("no tokens; next: flowrun tokens add NAME --role viewer")
    return EXIT_OK


@command.command()
@click.argument("name")
@_ENV
def revoke(name: str, env: str | None) -> int:
    """Revoke a token, from its next request on."""
    with _access(env) as access:
        if not access.revoke(name, who()):
            live = ", ".join(one.name for one in access.all() if one.revoked_at is None) or "none"
            raise ProjectError(f"there is no token '{name}'", help=f"tokens: {live}")
    click.echo(f"revoked {name}")
    return EXIT_OK


def _time(at: float | None) -> str:
    return "never" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


@contextmanager
def _access(env: str | None) -> Iterator[Access]:
    project = load_project(Path.cwd())
    database = open_database(store_place(project, project.environment(env)), beside=True)
    try:
        yield Access(database)
    finally:
        database.close()
