"""flowrun connections: list, check credentials, pull contracts."""

from __future__ import annotations

import json
from pathlib import Path

import click

from flowrun.cli.main import EXIT_FINDINGS, EXIT_OK, EXIT_OUTSIDE, EXIT_USAGE
from flowrun.connector import Checks, Health, PullsContract, discover
from flowrun.errors import ConnectorError, ProjectError
from flowrun.logs import configure
from flowrun.project import load_project
from flowrun.values import system_clock

_ENV = click.option("--env", help="The environment; without it the first of flowrun.yaml.")


@click.group(name="connections")
def command() -> None:
    """Check credentials, pull contracts."""


@command.command(name="list")
def list_() -> int:
    """List the project's connections."""
    for name, spec in load_project(Path.cwd()).connections.items():
        click.echo(f"{name}  {spec.connector}")
    return EXIT_OK


@command.command()
@click.argument("names", nargs=-1)
@_ENV
def check(names: tuple[str, ...], env: str | None) -> int:
    """Do the credentials work, and is the system there?

    Exit code 4 when a system does not answer or refuses, 2 when a setting is missing.
    """
    from flowrun.connections import opened

    configure("auto", "warning")
    project = load_project(Path.cwd())
    environment = project.environment(env)
    for name in names:
        project.connection(name, environment)  # a misspelt name is said before any system is asked
    code = EXIT_OK
    for name in names or tuple(project.connections):
        try:
            with opened(project, environment, (name,), discover(), now=system_clock) as connections:
                connector = connections[name]
                if not isinstance(connector, Checks):
                    click.echo(f"{name}: cannot be checked")
                    continue
                health = connector.check()
        except ProjectError as error:
            code = max(code, EXIT_USAGE)
            click.echo(f"{name}: {error.message}" + (f" ({error.help})" if error.help else ""))
            continue
        except ConnectorError as error:
            health = Health(False, error.message)
        code = code if health.ok else EXIT_OUTSIDE
        mark = click.style("works", fg="green") if health.ok else click.style("FAILED", fg="red")
        click.echo(f"{name}: {mark}: {health.message}")
    return code


@command.command(name="pull-contract")
@click.argument("name")
@click.argument("object")
@_ENV
def pull_contract(name: str, object: str, env: str | None) -> int:
    """Read the live system's own description of an object and pin it under contracts/."""
    from flowrun.connections import opened

    configure("auto", "warning")
    project = load_project(Path.cwd())
    with opened(project, project.environment(env), (name,), discover(), now=system_clock) as connections:
        connector = connections[name]
        if not isinstance(connector, PullsContract):
            raise ProjectError(f"connection '{name}' cannot describe itself")
        try:
            shape = connector.pull_contract(object)
        except ConnectorError as error:
            click.echo(f"error: {error.error_class}: {error.message}", err=True)
            return EXIT_OUTSIDE
    path = project.root / "contracts" / name / f"{object}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(shape.to_json(), indent=1) + "\n", encoding="utf-8")
    click.echo(f"wrote {path.relative_to(project.root)}: {len(shape.fields)} fields")
    return EXIT_OK if shape.fields else EXIT_FINDINGS
