"""flowrun drift: what arrives that changed its shape, which lines it hurts, and the edit that mends it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from flowrun.cli.main import EXIT_FINDINGS, EXIT_OK
from flowrun.cli.outfile import whole_file
from flowrun.cli.output import print_json
from flowrun.cli.project import existing_vault, held_store
from flowrun.cli.records import read_records
from flowrun.connector import PullsContract, Registry, discover
from flowrun.contract import Shape
from flowrun.drift import Finding, Look, Patch, Place, compare_contracts, look, places_of, propose
from flowrun.drift.contracts import target_places
from flowrun.drift.settings import settings_of
from flowrun.errors import ConnectorError, InvalidFlow
from flowrun.flow import check_project, named_flow
from flowrun.flow.model import Flow
from flowrun.logs import configure, redact
from flowrun.project import Environment, Project, load_project
from flowrun.values import system_clock


@dataclass(frozen=True, slots=True)
class Live:
    """What a system says of one of its objects. object: as the flow names it. pinned: the file of the contract that
    flows are checked against, where there is one. failed: why the system did not say."""

    connection: str
    object: str
    findings: tuple[Finding, ...] = ()
    pinned: str = ""
    text: str = ""
    failed: str = ""


@click.command(name="drift")
@click.argument("flow", required=False)
@click.option("--env", help="The environment; without it the first of flowrun.yaml.")
@click.option("--last", default=2000, show_default=True, type=click.IntRange(1), help="So many of the last records.")
@click.option(
    "--recent",
    default=200,
    show_default=True,
    type=click.IntRange(1),
    help="The newest of them, held against the others.",
)
@click.option(
    "--input",
    "input_",
    type=click.Path(path_type=Path, exists=True),
    help="Records of this file instead of the newest.",
)
@click.option("--live", is_flag=True, help="Ask the systems for their own contracts, too.")
@click.option("--check", is_flag=True, help="Exit code 1 when anything drifted.")
@click.option(
    "--propose",
    "patch_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the edits that would mend it as a patch; nothing is applied.",
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(
    flow: str | None, env: str | None, last: int, recent: int, input_: Path | None, live: bool, check: bool,
    patch_file: Path | None, form: str,
) -> int:  # fmt: skip
    """Say what arrives that has changed its shape, and which lines of FLOW (or of every flow) it hurts.

    Fields that are gone, renamed, null or of another type, codes that no table has a row for, values too long for the
    target: the newest records that the store holds against those before them. Reads only; nothing is applied.
    """
    configure("auto", "warning")
    project, registry = load_project(Path.cwd()), discover()
    environment = project.environment(env)
    limits = settings_of(project).limits
    flows = _flows(project, registry, flow)
    if input_ is not None and len(flows) != 1:
        raise click.UsageError("--input needs the FLOW that takes its records")
    looks = []
    with closing(held_store(project, environment)) as held:
        for one in flows:
            inputs = held.inputs(one.name, last)
            if input_ is not None:
                given = [(f"record {n}", record) for n, record in enumerate(read_records(input_), 1)]
                looks.append(look(one, project.root, [*inputs, *given], len(given), limits))
            else:
                looks.append(look(one, project.root, inputs, recent, limits))
    said = {one.name: _live(project, environment, registry, one) for one in flows} if live else {}
    if form == "json":
        print_json({"flows": [_as_json(one, said.get(one.flow.name, ())) for one in looks]})
    else:
        for one_ in looks:
            for line in _lines(one_, said.get(one_.flow.name, ())):
                click.echo(redact(line))
    if patch_file is not None:
        _write(project, looks, said, patch_file)
    drifted = any(one.findings for one in looks) or any(one.findings for all_ in said.values() for one in all_)
    return EXIT_FINDINGS if check and drifted else EXIT_OK


def _flows(project: Project, registry: Registry, name: str | None) -> list[Flow]:
    checked = check_project(project, registry, named_flow(project.root, name) if name is not None else ())
    wrong = [one for one in checked.diagnostics if one.severity == "error"]
    if wrong:
        raise InvalidFlow(wrong)
    return sorted(checked.flows, key=lambda flow: flow.name)


def _live(project: Project, environment: Environment, registry: Registry, flow: Flow) -> list[Live]:
    from flowrun.connections import opened

    sides = [
        (flow.source.connection, flow.source.object, flow.source.shape, places_of(flow, project.root)),
        (flow.target.connection, flow.target.object, flow.target.shape, target_places(flow)),
    ]
    names = tuple(dict.fromkeys(connection for connection, *_ in sides))
    found = []
    with (
        existing_vault(project, environment) as vault,
        opened(project, environment, names, registry, now=system_clock, vault=vault, keep=False) as connections,
    ):
        for connection, object_, known, places in sides:
            connector = connections[connection]
            if not isinstance(connector, PullsContract) or known is None:
                continue
            try:
                shape = connector.pull_contract(object_)
            except ConnectorError as error:
                found.append(Live(connection, object_, failed=f"{error.error_class}: {error.message}"))
                continue
            found.append(_compared(project, connection, object_, known, shape, places))
    return found


def _compared(
    project: Project, connection: str, object_: str, known: Shape, live: Shape, places: Sequence[Place]
) -> Live:
    name = f"contracts/{connection}/{object_}.json"
    unlike = tuple(compare_contracts(object_, known, live, places))
    pinned = name if (project.root / name).is_file() else ""
    return Live(connection, object_, unlike, pinned, json.dumps(live.to_json(), indent=1) + "\n")


def _lines(one: Look, live: Sequence[Live]) -> Iterator[str]:
    said = [*one.findings, *(finding for side in live for finding in side.findings)]
    compared = f"{one.recent} recent records against {one.before} before them"
    if not one.enough:
        compared += "; too few to compare"
    yield f"{click.style(one.flow.name, bold=True)}: {len(said)} finding{'s' * (len(said) != 1)}   ({compared})"
    for side in live:
        if side.failed:
            yield f"  {side.connection} {side.object}: its contract could not be asked for: {side.failed}"
    for finding in said:
        yield f"  {click.style(finding.kind, fg='yellow')}: {finding.message}"
        for word, shown in (("before", finding.before), ("after ", finding.after)):
            if shown is not None:
                yield f"    {word} {shown.key}: {shown.text}"
        for place in finding.places:
            yield f"    hurts {place.used}   ({place.file}:{place.line})"


def _as_json(one: Look, live: Sequence[Live]) -> dict[str, Any]:
    findings = [*one.findings, *(finding for side in live for finding in side.findings)]
    return {
        "flow": one.flow.name,
        "recent": one.recent,
        "before": one.before,
        "enough": one.enough,
        "unasked": [f"{side.connection} {side.object}: {side.failed}" for side in live if side.failed],
        "findings": [
            {
                "kind": f.kind, "path": f.path, "message": f.message, "share": round(f.share, 4),
                **({"before": {"key": f.before.key, "text": f.before.text}} if f.before else {}),
                **({"after": {"key": f.after.key, "text": f.after.text}} if f.after else {}),
                "places": [{"file": p.file, "line": p.line, "used": p.used} for p in f.places],
                **({"renamed_to": f.renamed_to} if f.renamed_to else {}),
                **({"lookup": f.lookup} if f.lookup else {}),
            }
            for f in findings
        ],
    }  # fmt: skip


def _write(project: Project, looks: Sequence[Look], said: dict[str, list[Live]], file: Path) -> None:
    whole = Patch()
    for one in looks:
        live = said.get(one.flow.name, [])
        contracts = {side.pinned: side.text for side in live if side.findings and side.pinned}
        made = propose(one.flow, project.root, one.findings, contracts)
        whole.left += made.left
        whole.left += [
            f"{side.connection} {side.object}: flowrun connections pull-contract {side.connection} {side.object}"
            for side in live
            if side.findings and not side.pinned
        ]
        for name, (before, after) in made.texts.items():
            whole.texts[name] = (before, _both(whole.texts.get(name, (before, before))[1], before, after))
    text = whole.text()
    with whole_file(file) as out:
        out.write(text.encode())
    files = len(whole.texts)
    click.echo(f"wrote {file}: edits in {files} file{'s' * (files != 1)}; look at it, then: git apply {file}", err=True)
    for line in dict.fromkeys(whole.left):
        click.echo(f"  left to you: {line}", err=True)


def _both(already: str, before: str, after: str) -> str:
    """A table that two flows read gets the rows of both, each once."""
    if already == before:
        return after
    if already.startswith(before) and after.startswith(before):
        there = already[len(before) :].splitlines()
        return already + "".join(
            line for line in after[len(before) :].splitlines(True) if line.rstrip("\r\n") not in there
        )
    return already
