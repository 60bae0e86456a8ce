"""flowrun env: what an environment is in effect, and how two of them differ."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from flowrun.cli.main import EXIT_FINDINGS, EXIT_OK
from flowrun.cli.output import print_json
from flowrun.connector import discover
from flowrun.logs import redact
from flowrun.project import load_project
from flowrun.promotion import Change, View, changes, project_in, view_of

_FORM = click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
_HEADS = {
    "value": "values",
    "connection": "connections",
    "setting": "settings of connections",
    "store": "store",
    "approvals": "approvals",
    "secret": "secrets",
    "variable": "variables of the system",
    "flow": "flows",
    "contract": "contracts",
    "row": "rows of tables",
}


@click.group(name="env")
def command() -> None:
    """What an environment is in effect, and how two of them differ. Touches no network; names secrets, shows none."""


@command.command(name="list")
@_FORM
def list_(form: str) -> int:
    """List the environments, and what each still lacks on this machine."""
    project, registry = load_project(Path.cwd()), discover()
    views = [view_of(project, one, registry) for one in project.environments.values()]
    if form == "json":
        print_json([_summary(view) for view in views])
        return EXIT_OK
    for view in views:
        facts = _summary(view)
        simulated = f"; simulated: {', '.join(facts['simulated'])}" if facts["simulated"] else ""
        click.echo(f"{click.style(view.environment.name, bold=True)}  {len(view.environment.values)} values{simulated}")
        if view.missing:
            click.echo(f"  missing here: {', '.join(view.missing)}")
    return EXIT_OK


@command.command()
@click.argument("name")
@_FORM
def show(name: str, form: str) -> int:
    """Show what is in effect in environment NAME, and which flows it concerns."""
    project = load_project(Path.cwd())
    view = view_of(project, project.environment(name), discover())
    if form == "json":
        facts = [{"kind": kind, "name": what, **_filled(asdict(fact))} for (kind, what), fact in view.facts.items()]
        print_json({**_summary(view), "facts": facts})
        return EXIT_OK
    for kind, head in _HEADS.items():
        facts_ = [(what, fact) for (one, what), fact in view.facts.items() if one == kind]
        if facts_:
            click.echo(click.style(head, bold=True))
        for what, fact in facts_:
            click.echo(redact(f"  {what}: {fact.text}{_for(fact.flows)}"))
    return EXIT_OK


@command.command()
@click.argument("a")
@click.argument("b")
@click.option(
    "--other",
    metavar="PLACE",
    help="B as it stands elsewhere: a folder, where bundles are applied, a bundle, or a git revision.",
)
@click.option("--check", is_flag=True, help="Exit code 1 when anything differs.")
@_FORM
def diff(a: str, b: str, other: str | None, check: bool, form: str) -> int:
    """Say what differs in effect between environments A and B: values and their flows, systems, settings, secrets that
    are missing on this machine, and, with --other, flows, tables and contracts.

    What is deployed against what is here: flowrun env diff prod prod --other /srv/flowrun
    """
    project, registry = load_project(Path.cwd()), discover()
    with ExitStack() as stack:
        there = project_in(stack, project, other) if other is not None else project
        views = view_of(project, project.environment(a), registry), view_of(there, there.environment(b), registry)
    found = changes(*views)
    if form == "json":
        missing = {"a": views[0].missing, "b": views[1].missing}
        print_json({"a": a, "b": b, "changes": [_filled(asdict(one)) for one in found], "missing": missing})
    else:
        _print(found, a, b if other is None else f"{b} of {other}")
        for name, view in zip((a, b), views, strict=True):
            if view.missing:
                click.echo(f"{name} lacks on this machine: {', '.join(view.missing)}")
    return EXIT_FINDINGS if check and found else EXIT_OK


def _print(found: Iterable[Change], a: str, b: str) -> None:
    kind, count = "", 0
    for count, one in enumerate(found, 1):  # noqa: B007 - told at the end
        if one.kind != kind:
            kind = one.kind
            click.echo(click.style(_HEADS[kind], bold=True))
        sides = f": {one.a} → {one.b}" if one.a or one.b else ""
        place = f"   ({one.b_place or one.a_place})" if one.b_place or one.a_place else ""
        click.echo(redact(f"  {one.name}{sides}{_for(one.flows)}{place}"))
    click.echo(f"{a} → {b}: {count} difference{'s' * (count != 1)}")


def _for(flows: Iterable[str]) -> str:
    names = ", ".join(flows)
    return f"   [{names}]" if names else ""


def _summary(view: View) -> dict[str, Any]:
    one = view.environment
    return {"name": one.name, "simulated": list(one.sandbox), "approvals": one.approvals, "missing": view.missing}


def _filled(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value}
