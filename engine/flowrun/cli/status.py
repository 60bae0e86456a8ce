"""flowrun status: one page that says how all flows are, beside whatever runs."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path

import click

from flowrun.cli.budgets import span
from flowrun.cli.main import EXIT_FINDINGS, EXIT_OK
from flowrun.cli.output import print_json
from flowrun.cli.project import held_store
from flowrun.connector import discover
from flowrun.flow import check_project
from flowrun.logs import redact
from flowrun.project import load_project
from flowrun.runner.status import FlowStatus, Pass, Status, status_of


@click.command(name="status")
@click.option("--env", help="The environment; without it the first of flowrun.yaml.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(env: str | None, form: str) -> int:
    """Say how all flows are: what waits and why, what is due, and what needs a person.

    Only reads, also beside a running service. Exit code 1 when something needs a person.

    Example: flowrun status --env prod
    """
    project = load_project(Path.cwd())
    flows = {flow.name: flow for flow in check_project(project, discover()).flows}
    held = held_store(project, project.environment(env))
    try:
        found = status_of(held, flows, list(project.connections))
    finally:
        held.close()
    if form == "json":
        print_json(asdict(found))
    elif sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        _page(found)
    else:
        for line in _lines(found):
            click.echo(redact(line))
    return EXIT_FINDINGS if found.needs else EXIT_OK


def _lines(status: Status) -> list[str]:
    lines = []
    for one in status.flows:
        lines.append(f"{one.flow}: {_counts(one)}{'  PAUSED' if one.paused else ''}")
        lines += [f"  {line}" for line in _details(one, status.at)]
    for other in status.connections:
        said = "; ".join(_connection(other.circuit, other.reason, other.budget, other.thin_events, other.paused))
        lines.append(f"connection {other.connection}: {said}{_token(other.token_ends, status.at)}")
    lines += [f"needs a person: {need}" for need in status.needs] or ["nothing needs a person"]
    return lines


def _counts(one: FlowStatus) -> str:
    return ", ".join(f"{count} {state}" for state, count in one.records.items()) or "no records"


def _details(one: FlowStatus, at: float) -> list[str]:
    found = []
    if one.oldest_waiting is not None:
        found.append(f"oldest waiting: {one.oldest_key}, for {span(at - one.oldest_waiting)}; {one.why}")
    elif one.paused:
        found.append(one.paused)
    found += [_pass(pass_, at) for pass_ in one.passes]
    if one.alerts:
        found.append(f"{one.alerts} open alert{'s' * (one.alerts != 1)}")
    return found


def _pass(one: Pass, at: float) -> str:
    last = f"last {span(at - one.ended_at)} ago" if one.ended_at is not None else "none yet"
    then = (
        "now" if one.running else f"next in {span(one.due - at)}" if one.due > at else f"late by {span(at - one.due)}"
    )
    return f"{one.kind}: {last}, {then}" + (f"; failed: {one.error}" if one.error else "")


def _connection(circuit: str, reason: str, budget: str, thin: int, paused: str) -> list[str]:
    found = [paused] if paused else []
    found.append("ok" if circuit == "closed" else f"{circuit}: {reason}")
    if budget:
        found.append(budget)
    if thin:
        found.append(f"{thin} thin event{'s' * (thin != 1)} to read back")
    return found


def _token(ends: float | None, at: float) -> str:
    if ends is None:
        return ""
    return f"; token ends in {span(ends - at)}" if ends > at else f"; token ended {span(at - ends)} ago"


def _page(status: Status) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    flows = Table("flow", "records", "", title=None, expand=True)
    for one in status.flows:
        colour = "yellow" if one.paused else "red" if one.records.get("dead") else "green"
        flows.add_row(
            Text(one.flow, style=colour), Text(_counts(one)), Text(redact("\n".join(_details(one, status.at))))
        )
    console.print(flows)
    systems = Table("connection", "", expand=True)
    for other in status.connections:
        said = _connection(other.circuit, other.reason, other.budget, other.thin_events, other.paused)
        colour = "green" if said == ["ok"] else "yellow"
        systems.add_row(
            Text(other.connection, style=colour),
            Text(redact("; ".join(said) + _token(other.token_ends, status.at))),
        )
    console.print(systems)
    for need in status.needs:
        console.print(Text(redact(f"needs a person: {need}"), style="red"))
    if not status.needs:
        console.print(Text("nothing needs a person", style="green"))
