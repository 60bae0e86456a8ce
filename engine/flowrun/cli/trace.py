"""flowrun trace: one business object through all flows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from flowrun.cli.main import EXIT_OK
from flowrun.cli.masks import Masks, whys
from flowrun.cli.output import print_json
from flowrun.cli.project import held_store, open_flow, store_place
from flowrun.errors import FlowrunError, ProjectError
from flowrun.logs import redact
from flowrun.lookups import Snapshot
from flowrun.masking import Mask
from flowrun.project import load_project
from flowrun.runner import apply_all
from flowrun.store.reading import Reading
from flowrun.store.tracing import Event, Life, Tracing


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
        lives = Tracing(held.database).follow(key, flow)
        masks = Masks(project)
        for life in lives:
            mask = masks.of(life.row.flow)
            _mapped(life, held, env, mask)
            field = life.row.error_field or ""
            life.events = [
                replace(one, words=mask.text(one.words, life.row.payload, life.row.body, field)) for one in life.events
            ]
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


def _mapped(life: Life, held: Reading, env: str | None, mask: Mask) -> None:
    """What mapping looked up, told by the flow itself as long as it is the one that mapped the record."""
    row = life.row
    if row.flow_hash is None:
        return
    words = f"by flow {row.flow_hash}"
    try:
        _, _, flow, plan = open_flow(row.flow, env)
        live = any(lookup.kind == "connection" for lookup in flow.lookups.values())
        if flow.hash != row.flow_hash:
            words += "; the flow has changed since"
        elif live:
            words += "; it looks things up in a system, which is not asked again"
        else:
            snapshot = Snapshot()
            apply_all(flow, plan, held, [row], {}, snapshot)
            steps = [
                step
                for why in whys(mask, plan.explain(row.payload, snapshot).fields, row.payload)
                for step in why.steps
            ]
            used = dict.fromkeys(" ".join(s.split()) for s in steps if s.startswith("lookup "))
            words += "".join(f"; {step}" for step in used)
    except FlowrunError:
        words += "; the flow is not there any more, or not valid"
    # No row says when; it was just before what came of it.
    after = ("sent", "asked", "answered", "retried", "waited", "failed", "waiting", "in doubt", "skipped")
    place = max((i for i, event in enumerate(life.events) if event.event in after), default=None)
    at = row.received_at if place is None else life.events[place].at
    life.events.insert(1 if place is None else place, Event(at, "mapped", words))


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
