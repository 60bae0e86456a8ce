"""flowrun diff: what an edit of a flow changes, over the records that came in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from flowrun.cli.main import EXIT_FINDINGS, EXIT_OK
from flowrun.cli.output import print_json
from flowrun.cli.project import existing_vault, held_store, of_one_map, open_flow
from flowrun.cli.records import read_records
from flowrun.comparing import Comparison, Difference, Side, compare, project_at, records_of
from flowrun.connector import Registry
from flowrun.errors import InvalidFlow, ProjectError
from flowrun.flow import load_flow
from flowrun.logs import configure, redact
from flowrun.plan import compile_plan
from flowrun.planning.changes import ABSENT
from flowrun.project import Project, load_project
from flowrun.testing.comparison import shown
from flowrun.values import system_clock


@click.command(name="diff")
@click.argument("flow")
@click.option("--against", required=True, metavar="REV", help="A git revision, or another flow file.")
@click.option("--last", default=500, show_default=True, type=click.IntRange(1), help="So many of the last records.")
@click.option(
    "--input", "input_", type=click.Path(path_type=Path, exists=True), help="Records from a file instead of the store."
)
@click.option("--env", help="The environment; without it the first of flowrun.yaml.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(flow: str, against: str, last: int, input_: Path | None, env: str | None, form: str) -> int:
    """Replay recorded records through the flow as it was and as it is, and say what differs and why.

    A revision's flow comes with its fragments, tables, contracts and flowrun.yaml. Nothing is sent or written. Exit
    code 1 when anything differs, 0 when nothing does.
    """
    from flowrun.connections import opened

    configure("auto", "warning")
    project, registry, checked, plan = open_flow(flow, env)
    of_one_map(checked, "diff")
    environment = project.environment(env)
    new = Side(checked, plan, project.root)
    held = held_store(project, environment)
    with ExitStack() as stack:
        stack.callback(held.close)
        old = _other(stack, project, registry, checked.name, against, environment.name)
        if input_ is not None:
            records = records_of(new, read_records(input_))
        else:
            records = [record for _, record in held.inputs(checked.name, last)]
        if not records:
            help = "give records with --input FILE"
            raise ProjectError(f"no record of {checked.name} is held in environment '{environment.name}'", help=help)
        both = (*old.flow.lookups.values(), *checked.lookups.values())
        live = tuple(lookup.connection for lookup in both if lookup.connection)
        vault = stack.enter_context(existing_vault(project, environment)) if live else None
        connections = stack.enter_context(
            opened(project, environment, live, registry, now=system_clock, vault=vault, keep=False)
        )  # none, mostly
        found = compare(old, new, records, store=held, connections=connections)
    if form == "json":
        print_json({"flow": checked.name, "against": against, **_as_json(found)})
    else:
        for line in lines(found, against):
            click.echo(redact(line))
    return EXIT_FINDINGS if found.differences else EXIT_OK


def _other(stack: ExitStack, project: Project, registry: Registry, name: str, against: str, environment: str) -> Side:
    """The version to compare with. Raises ProjectError, also when it was no valid flow."""
    if Path(against).is_file():
        there, wanted = project, against
    else:
        there = load_project(stack.enter_context(project_at(project.root, against)))
        wanted = name
    try:
        flow = load_flow(wanted, there, registry)
    except InvalidFlow as error:
        first = error.diagnostics[0]
        raise ProjectError(f"{against} is no valid version of {name}: {first.span}: {first.message}") from None
    except ProjectError as error:
        raise ProjectError(f"{against}: {error.message}", help=error.help) from None
    of_one_map(flow, "diff")
    return Side(flow, compile_plan(flow, there.environment(environment).values), there.root)


def lines(found: Comparison, against: str) -> Iterator[str]:
    """The comparison as a person reads it, what touches most records first."""
    for one in sorted(found.differences, key=lambda d: -d.records):
        count = f"{one.records} record{'s' * (one.records != 1)}"
        yield f"{click.style(one.field, bold=True)}  {count}"
        yield f"  {one.cause.kind}: {one.cause.what}"
        yield from (f"    {sign} {text}" + _at(place) for sign, text, place in _sides(one))
        outcome = one.field.startswith("outcome: ")  # told in words, not as a value
        old, new = (one.old, one.new) if outcome else (_value(one.old), _value(one.new))
        yield f"  for example {one.key}: {old} → {new}"
    same = found.records - found.differing
    yield f"{found.records} records against {against}: {found.differing} differ, {same} the same"


def _sides(one: Difference) -> Iterator[tuple[str, str, str]]:
    cause = one.cause
    if cause.old or cause.old_place:
        yield "-", cause.old, cause.old_place
    if cause.new or cause.new_place:
        yield "+", cause.new, cause.new_place


def _at(place: str) -> str:
    return f"   {click.style(f'({place})', dim=True)}" if place else ""


def _value(value: Any) -> str:
    return "absent" if value is ABSENT else shown(value)


def _as_json(found: Comparison) -> dict[str, Any]:
    return {
        "records": found.records,
        "differing": found.differing,
        "differences": [
            {
                "field": one.field,
                "records": one.records,
                "cause": {
                    name: getattr(one.cause, name)
                    for name in ("kind", "what", "old", "new", "old_place", "new_place")
                    if getattr(one.cause, name)
                },
                "example": {
                    "key": one.key,
                    **({} if one.old is ABSENT else {"old": one.old}),
                    **({} if one.new is ABSENT else {"new": one.new}),
                },
            }
            for one in found.differences
        ],
    }
