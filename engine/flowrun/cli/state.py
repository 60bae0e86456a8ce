"""flowrun state: what the store holds and whether it is whole; its other commands stand beside it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from flowrun.cli.main import EXIT_FINDINGS, EXIT_OK
from flowrun.cli.output import print_json
from flowrun.cli.project import held_store, is_there, project_store, store_place, who
from flowrun.cli.state_backup import backup, restore
from flowrun.cli.state_cursors import cursors
from flowrun.cli.state_erase import forget, prune
from flowrun.cli.state_keys import rotate_key
from flowrun.cli.state_xref import xref
from flowrun.errors import ProjectError
from flowrun.project import load_project
from flowrun.store.reading import Reading
from flowrun.store.verifying import verify as find_faults

_ENV = click.option("--env", help="The environment; without it the first of flowrun.yaml.")
_FORM = click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)


@click.group(name="state")
def command() -> None:
    """What the store holds and whether it is whole; cursors, cross-references, backup, retention, erasure, keys."""


command.add_command(cursors)
command.add_command(xref)
command.add_command(backup)
command.add_command(restore)
command.add_command(prune)
command.add_command(forget)
command.add_command(rotate_key)


@command.command()
@_ENV
@_FORM
def show(env: str | None, form: str) -> int:
    """Show each flow's records by state, its oldest waiting record and its cursor; connections that are held; the size.

    Example: flowrun state show --env prod
    """
    place, held = _read(env)
    try:
        flows = held.summary()
        circuits = [
            {"connection": one.connection, "state": one.state, "reason": one.reason} for one in held.circuits.all()
        ]
        size = held.size()
    finally:
        held.close()
    if form == "json":
        print_json({"store": _named(place), "bytes": size, "flows": flows, "circuits": circuits})
        return EXIT_OK
    click.echo(f"{_named(place)}, {size / (1 << 20):.1f} MiB")
    for one in flows:
        counts = ", ".join(f"{count} {state}" for state, count in one["records"].items())
        click.echo(f"{one['flow']}: {counts}")
        if one["oldest_waiting"] is not None:
            click.echo(f"  oldest waiting: {one['oldest_waiting_key']} since {_time(one['oldest_waiting'])}")
        if one["cursor"] is not None:
            click.echo(f"  cursor: {one['cursor']}")
    for circuit in circuits:
        click.echo(f"connection {circuit['connection']} is {circuit['state']}: {circuit['reason']}")
    return EXIT_OK


@command.command()
@click.option("--mend", is_flag=True, help="Mend what can be mended safely; audited. Not while another flowrun runs.")
@_ENV
@_FORM
def verify(mend: bool, env: str | None, form: str) -> int:
    """Prove that every record received has exactly one outcome and that nothing is stuck. Exit code 1 with findings.

    Example: flowrun state verify --env prod
    """
    if mend:
        _, store = project_store(env)
        try:
            findings = find_faults(store.database, mend=who())
            sums = store.summary()
        finally:
            store.close()
    else:
        _, held = _read(env)
        try:
            findings = find_faults(held.database)
            sums = held.summary()
        finally:
            held.close()
    records = sum(sum(one["records"].values()) for one in sums)
    if form == "json":
        faults = [
            {"check": one.name, "what": one.what, "count": one.count, "examples": list(one.examples),
             "mended": one.mended, "next": one.next} for one in findings
        ]  # fmt: skip
        print_json({"records": records, "findings": faults})
    else:
        for one in findings:
            click.echo(f"{one.name}: {one.what} ({one.count}){': mended' if one.mended else ''}")
            for example in one.examples:
                click.echo(f"    {example}")
            if one.next:
                click.echo(f"  next: {one.next}")
        click.echo(f"{records} records of {len(sums)} flows; {len(findings)} findings")
    return EXIT_FINDINGS if any(not one.mended for one in findings) else EXIT_OK


def _read(env: str | None) -> tuple[Path | str, Reading]:
    project = load_project(Path.cwd())
    place = store_place(project, project.environment(env))
    if not is_there(place):
        raise ProjectError(f"there is no store at {place} yet", help="flowrun run FLOW")
    return place, held_store(project, project.environment(env))


def _named(place: Any) -> str:
    """The path, or the address without its password."""
    if isinstance(place, Path):
        return os.path.relpath(place)
    from sqlalchemy import make_url

    return make_url(str(place)).render_as_string(hide_password=True)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
