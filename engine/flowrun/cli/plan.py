"""flowrun plan: what a run would do to the target now, and why; nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flowrun.cli.main import EXIT_FINDINGS, EXIT_GUARD, EXIT_OK, EXIT_OUTSIDE
from flowrun.cli.output import print_json, say_outside
from flowrun.cli.project import existing_vault, held_store, of_one_map, open_flow
from flowrun.cli.records import read_records
from flowrun.errors import ConnectorError
from flowrun.logs import configure, redact
from flowrun.testing.comparison import shown
from flowrun.values import system_clock

if TYPE_CHECKING:
    from flowrun.planning import Proposal

WORDS = {
    "create": ("create", "green"),
    "update": ("update", "yellow"),
    "delete": ("delete", "red"),
    "send": ("send", "yellow"),
    "unchanged": ("unchanged", None),
    "skip": ("skip", None),
    "reject": ("would be rejected", "red"),
    "duplicate": ("would be duplicate", "red"),
    "wait": ("waits", None),
    "supersede": ("superseded", None),
}


@click.command(name="plan")
@click.argument("flow")
@click.option("--env", help="The environment; without it the first of flowrun.yaml.")
@click.option(
    "--input", "input_", type=click.Path(path_type=Path, exists=True), help="Records from a file instead of the source."
)
@click.option("--output", type=click.Path(path_type=Path), help="Keep the plan, for: flowrun run FLOW --plan FILE.")
@click.option("--limit", type=click.IntRange(1), help="At most so many records at intake.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(flow: str, env: str | None, input_: Path | None, output: Path | None, limit: int | None, form: str) -> int:
    """Say what a run would create, update, skip and reject at the target now, field by field and why.

    Reads the source, the store and the target; writes nothing but the file of --output. Exit code 1 when records
    would be rejected or are at the target already, 3 when the flow's guard would stop a run, 4 when the outside world
    cannot be read.
    """
    from flowrun.connections import opened
    from flowrun.planning import document, make_plan, masked, report, target_info, write_plan

    configure("auto", "warning")
    project, registry, checked, plan = open_flow(flow, env)
    of_one_map(checked, "plan")
    environment = project.environment(env)
    names = (*(() if input_ else (checked.source.connection,)), checked.target.connection, *checked.asked)
    held = held_store(project, environment)
    try:
        with (
            existing_vault(project, environment) as vault,
            opened(project, environment, names, registry, now=system_clock, vault=vault, keep=False) as connections,
        ):
            proposal = make_plan(
                checked,
                plan,
                target=connections[checked.target.connection],
                info=target_info(project, environment, registry, checked),
                held=held,
                source=None if input_ else connections[checked.source.connection],
                records=read_records(input_) if input_ else None,
                environment=environment.name,
                connections=connections,
                limit=limit,
            )
    except ConnectorError as error:
        say_outside(error, "there is no plan, since not everything could be read")
        return EXIT_OUTSIDE
    finally:
        held.close()
    made = document(proposal, environment.values, system_clock().isoformat(timespec="seconds"))
    if output is not None:
        write_plan(output, made)
    seen = masked(proposal)
    if form == "json":
        print_json(report(document(seen, environment.values, made["made_at"])))
    else:
        for line in lines(seen):
            click.echo(redact(line))
        if output is not None:
            click.echo(f"next: flowrun run {checked.name} --env {environment.name} --plan {output}")
    totals = proposal.totals()
    if proposal.guard:
        return EXIT_GUARD
    return EXIT_FINDINGS if "reject" in totals or "duplicate" in totals else EXIT_OK


def lines(proposal: Proposal) -> Iterator[str]:
    """The plan as a person reads it."""
    from flowrun.planning.reasons import deciding

    flow = proposal.flow
    target = flow.target
    yield f"{flow.name} → {target.connection} {target.object} ({target.action}), environment {proposal.environment}"
    for entry in proposal.entries:
        word, colour = WORDS[entry.action]
        version = f"  version {entry.row.version}" if entry.row.version else ""
        yield f"{click.style(word, fg=colour, bold=True)}  {entry.row.key}{version}"
        if entry.why:
            field = f"{entry.field}: " if entry.field and entry.action == "reject" else ""
            class_ = f"{entry.error_class}: " if entry.error_class else ""
            yield f"  {class_}{field}{entry.why}" + _at(entry.place)
        if entry.help:
            yield f"  = help: {entry.help}"
        for warning in entry.warnings:
            yield f"  warning: {warning}"
        for change in entry.changes:
            if entry.action in ("create", "send"):
                yield f"  {change.field} = {shown(change.new)}" + _at(change.place)
                steps = deciding(change.because, brief=True)
            else:
                old = _value(change.old) if change.known else "(not shown by the target)"
                yield f"  {change.field}: {old} → {_value(change.new)}" + _at(change.place)
                steps = deciding(change.because, brief=False)
            yield from (f"    └ {step}" for step in steps)
    yield totals(proposal)
    if proposal.guard:
        yield click.style(f"guard: {proposal.guard}; a run stops before it sends anything", fg="red")


def totals(proposal: Proposal) -> str:
    counts = [f"{count} {WORDS[action][0]}" for action, count in proposal.totals().items()]
    return f"{', '.join(counts) or 'nothing to do'}; {proposal.read} read, {proposal.known} held already"


def _value(value: Any) -> str:
    return "absent" if repr(value) == "absent" and not isinstance(value, str) else shown(value)


def _at(place: str) -> str:
    """``file:line``, as ``explain`` names places."""
    return f"   {click.style('(' + place.rsplit(':', 1)[0] + ')', dim=True)}" if place else ""


def refusal(error: Any) -> Iterator[str]:
    """Why a plan is not applied."""
    yield f"refused: {error.message}"
    yield from (f"  {line}" for line in error.moved)
    if error.help:
        yield f"  = help: {error.help}"
