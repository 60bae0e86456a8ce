"""flowrun trace: one business object through all flows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from flowrun.cli.main import EXIT_OK
from flowrun.cli.output import print_json
from flowrun.cli.project import held_store, open_flow, store_place
from flowrun.errors import ProjectError
from flowrun.logs import redact
from flowrun.project import load_project
from flowrun.runner.following import follow
from flowrun.showing import Masks
from flowrun.store.tracing import Life


@click.command(name="trace")
@click.argument("key")
@click.option("--flow", help="KEY is a key of this flow; ids of several systems may look alike.")
@click.option("--env", help="The environment; without it the first of flowrun.yaml.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(key: str, flow: str | None, env: str | None, form: str) -> int:
    """Follow one business object: received, mapped, sent, answered, retried, failed, corrected, and by whom.

    KEY is a record's key, or the id that a system gave: cross-references and receipts are followed from there.
    """
    project = load_project(Path.cwd())
    place = store_place(project, project.environment(env))
    if isinstance(place, Path) and not place.exists():
        raise ProjectError(f"there is no store at {place} yet", help="flowrun run FLOW")
    held = held_store(project, project.environment(env))
    try:
        lives = follow(held, Masks(project), key, flow, lambda name: open_flow(name, env)[2:])
    finally:
        held.close()
    if not lives:
        where = f" of {flow}" if flow else ""
        raise ProjectError(f"no record{where} has to do with '{key}'", help="flowrun runs, then: flowrun runs RUN")
    if form == "json":
        print_json([_as_json(life) for life in lives])
    else:
        for line in lines(lives):
            click.echo(redact(line))
    return EXIT_OK


def lines(lives: list[Life]) -> Iterator[str]:
    """A block a record, a line an event."""
    for life in lives:
        row = life.row
        version = f"  version {row.version}" if row.version else ""
        edited = ", edited" if row.edited else ""
        yield f"{click.style(f'{row.flow} {row.key}', bold=True)}{version}  {row.state}{edited}"
        if life.link:
            yield f"  found by its {life.link}"
        for event in life.events:
            at = datetime.fromtimestamp(event.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
            by = f"  by {event.who}" if event.who else ""
            yield f"  {at}  {event.event:<10}{'  ' + event.words if event.words else ''}{by}".rstrip()
        if row.state == "dead":
            yield f"  next: flowrun dlq show {row.flow} {row.key}"


def _as_json(life: Life) -> dict[str, Any]:
    row = life.row
    return {
        "flow": row.flow,
        "key": row.key,
        "version": row.version,
        "state": row.state,
        "edited": row.edited,
        "link": life.link,
        "events": [
            {
                "at": datetime.fromtimestamp(event.at, UTC).isoformat(timespec="milliseconds"),
                "event": event.event,
                "words": event.words,
                **({"who": event.who} if event.who else {}),
            }
            for event in life.events
        ],
    }
