"""flowrun explain: why a field has its value, or is absent."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import click

from flowrun.cli.explaining import lines
from flowrun.cli.main import EXIT_FINDINGS, EXIT_OK
from flowrun.cli.project import held_store, is_there, of_one_map, open_flow, store_place
from flowrun.cli.records import given_xrefs, grouped, read_records
from flowrun.connector import Registry
from flowrun.diagnostics import near
from flowrun.errors import ProjectError
from flowrun.flow.model import Flow
from flowrun.lookups import Snapshot
from flowrun.masking import mask_of
from flowrun.plan import Identity, Mapped, Plan
from flowrun.project import Project
from flowrun.showing import whys
from flowrun.testing.comparison import shown
from flowrun.testing.flow_tests import describe


@click.command(name="explain")
@click.argument("flow")
@click.option(
    "--input",
    "input_",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Records, JSON Lines; without it the records that the store holds.",
)
@click.option("--key", help="The record with this key; the latest of them in the store, the first in a file.")
@click.option("--record", "seq", type=int, help="The record of this number in the store; flowrun runs RUN shows them.")
@click.option("--field", "path", help="A target path such as to_Item[0].Material; without it all fields.")
@click.option("--env", help="The environment whose values and store apply; without it the first of flowrun.yaml.")
@click.option(
    "--xref",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Cross-references: a YAML or JSON file, name: {from: to}; without it those of the store.",
)
@click.option("--live", is_flag=True, help="Ask live look-ups; without it they have no row.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(
    flow: str,
    input_: Path | None,
    key: str | None,
    seq: int | None,
    path: str | None,
    env: str | None,
    xref: Path | None,
    live: bool,
    form: str,
) -> int:
    """Say why a field has its value: what was read, looked up, converted, and which rule decided."""
    if input_ is None and key is None and seq is None:
        raise click.UsageError("which record? --input FILE, --key KEY of one in the store, or --record NUMBER")
    if seq is not None and (input_ is not None or key is not None):
        raise click.UsageError("--record names one record of the store: leave out --input and --key")
    if live and xref is not None:
        raise click.UsageError("--live takes cross-references from the store: leave out --xref")
    project, registry, checked, plan = open_flow(flow, env)
    of_one_map(checked, "explain")
    if input_ is not None:
        record = _from_file(checked, plan, input_, key)
    else:
        record, found = _from_store(project, checked, env, key, seq)
        if form == "text":
            click.echo(found)
    snapshot = given_xrefs(checked, xref) if xref else _answers(project, registry, checked, plan, env, record, live)
    explanation = plan.explain(record, snapshot)
    fields = list(explanation.of(path)) if path else list(explanation.fields)
    if not fields and not isinstance(explanation.outcome, Mapped):
        fields = [why for why in explanation.fields if why.failed]  # what stopped it before it came to the field
    elif not fields and path:
        guess = near(path, [why.path for why in explanation.fields])
        raise ProjectError(
            f"the flow builds no field '{path}' for this record", help=f"did you mean '{guess}'?" if guess else ""
        )
    mask = mask_of(checked)
    fields = whys(mask, fields, record)
    if form == "json":
        click.echo(json.dumps([_as_json(why) for why in fields], indent=2, ensure_ascii=False))
    else:
        for line in lines(fields):
            click.echo(line)
        if not isinstance(explanation.outcome, Mapped):
            said, field = describe(explanation.outcome), getattr(explanation.outcome, "field", "")
            click.echo(mask.text(said, record, field=field))
    return EXIT_OK if isinstance(explanation.outcome, Mapped) else EXIT_FINDINGS


def _from_file(flow: Flow, plan: Plan, path: Path, key: str | None) -> dict[str, Any]:
    keys = []
    for record in grouped(flow, plan, read_records(path)):
        identity = plan.identify(record)
        if key is None or (isinstance(identity, Identity) and identity.key == key):
            return record
        keys.append(identity.key if isinstance(identity, Identity) else "")
    raise ProjectError(
        f"no record of {path} has the key '{key}'" if keys else f"{path} holds no records", help=_guess(key, keys)
    )


def _from_store(
    project: Project, flow: Flow, env: str | None, key: str | None, seq: int | None
) -> tuple[dict[str, Any], str]:
    """The record, and which one it is in words."""
    environment = project.environment(env)
    if not is_there(store_place(project, environment)):
        raise ProjectError(
            f"environment '{environment.name}' has no store yet", help="explain a record of a file: --input FILE"
        )

    with closing(held_store(project, environment)) as store:
        rows = store.records(flow=flow.name, key=key, seq=seq)
        if not rows:
            what = f"the key '{key}'" if seq is None else f"the number {seq}"
            keys = [row.key for row in store.records(flow=flow.name)]
            raise ProjectError(
                f"no record of {flow.name} has {what} in environment '{environment.name}'", help=_guess(key, keys)
            )
    row = rows[-1]
    edited = ", corrected" if row.edited else ""
    return row.payload, f"{row.key}: record {row.seq} of run {row.run}, {row.state}{edited}; as the flow is now"


def _guess(key: str | None, keys: list[str]) -> str:
    guess = near(key, keys) if key is not None else None
    return f"did you mean '{guess}'?" if guess else ""


def _answers(
    project: Project, registry: Registry, flow: Flow, plan: Plan, env: str | None, record: Any, live: bool
) -> Snapshot:
    """What the record looks up in the store, and with ``live`` in other systems."""
    if not any(lookup.kind in ("xref", "connection") for lookup in flow.lookups.values()):
        return Snapshot(closed=True)
    from flowrun.planning.looking import looked_up

    environment = project.environment(env)
    with ExitStack() as stack:
        store = stack.enter_context(closing(held_store(project, environment)))
        connections: dict[str, Any] | None = None
        if live:
            from flowrun.connections import opened
            from flowrun.values import system_clock

            connections = stack.enter_context(opened(project, environment, flow.asked, registry, now=system_clock))
        snapshot = looked_up(flow, plan, record, store, connections)
    for name in snapshot.held:
        if flow.lookups[name].kind == "connection" and not live:
            click.echo(f"note: lookup '{name}' asks a live system; without --live it has no row", err=True)
        elif flow.lookups[name].kind == "xref" and not is_there(store_place(project, environment)):
            click.echo(f"note: there is no store yet, so lookup '{name}' has no row; --xref FILE gives some", err=True)
    snapshot.closed = True
    return snapshot


def _as_json(why: Any) -> dict[str, Any]:
    return {
        "field": why.path,
        "file": why.span.file,
        "line": why.span.line,
        "column": why.span.column,
        "steps": why.steps,
        "value": None if why.absent else shown(why.result),
        "absent": why.absent,
        "failed": why.failed,
    }
