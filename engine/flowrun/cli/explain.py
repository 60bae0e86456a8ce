"""flowrun explain: why a field has its value, or is absent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from flowrun.cli.explaining import lines
from flowrun.cli.main import EXIT_FINDINGS, EXIT_OK
from flowrun.cli.project import open_flow
from flowrun.cli.records import read_records, given_xrefs
from flowrun.errors import ProjectError
from flowrun.plan import Identity, Mapped
from flowrun.testing.flow_tests import describe, shown


@click.command(name="explain")
@click.argument("flow")
@click.option(
    "--input", "input_", type=click.Path(path_type=Path, exists=True), required=True, help="Records, JSON Lines."
)
@click.option("--key", help="The record with this key; without it the first.")
@click.option("--field", "path", help="A target path such as to_Item[0].Material; without it all fields.")
@click.option("--env", help="The environment whose values apply.")
@click.option(
    "--xref",
    type=click.Path(path_type=Path, exists=True),
    help="Cross-references: a YAML or JSON file, name: {from: to}.",
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(
    flow: str, input_: Path, key: str | None, path: str | None, env: str | None, xref: Path | None, form: str
) -> int:
    """Say why a field has its value: what was read, looked up, converted, and which rule decided."""
    project, _, checked, plan = open_flow(flow, env)
    for record in read_records(input_):
        identity = plan.identify(record)
        if key is None or (isinstance(identity, Identity) and identity.key == key):
            break
    else:
        raise ProjectError(f"no record of {input_} has the key '{key}'")
    explanation = plan.explain(record, given_xrefs(checked, xref))
    found = list(explanation.of(path)) if path else list(explanation.fields)
    if not found and path:
        raise ProjectError(f"the flow builds no field '{path}' for this record")
    if form == "json":
        click.echo(json.dumps([_as_json(why) for why in found], indent=2, ensure_ascii=False))
    else:
        for line in lines(found):
            click.echo(line)
        if not isinstance(explanation.outcome, Mapped):
            click.echo(describe(explanation.outcome))
    return EXIT_OK if isinstance(explanation.outcome, Mapped) else EXIT_FINDINGS


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
