"""flowrun connections: list, check credentials, let a person say yes, pull contracts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flowrun.children import only_harmless
from flowrun.cli.budgets import budget_lines, span
from flowrun.cli.main import EXIT_FINDINGS, EXIT_OK, EXIT_OUTSIDE, EXIT_USAGE
from flowrun.cli.project import existing_budgets, known_budgets, project_vault
from flowrun.connector import Checks, Health, PullsContract, discover
from flowrun.errors import ConnectorError, ProjectError, StoreError
from flowrun.logs import configure
from flowrun.project import Environment, Project, load_project
from flowrun.values import system_clock

if TYPE_CHECKING:
    from flowrun.store.budgets import Budgets
    from flowrun.store.vault import Vault

_ENV = click.option("--env", help="The environment; without it the first of flowrun.yaml.")


@click.group(name="connections")
def command() -> None:
    """Check credentials, authorize, pull contracts."""


@command.command(name="list")
@_ENV
def list_(env: str | None) -> int:
    """List the project's connections, how each proves who it is, and what is left of its limits."""
    project = load_project(Path.cwd())
    environment = project.environment(env)
    try:
        known = known_budgets(project, environment)
    except StoreError as error:  # what flowrun.yaml says can be listed all the same
        click.echo(f"note: what is left of limits is not known: {error.message}", err=True)
        known = {}
    for name in project.connections:
        spec = project.connection(name, environment)
        auth = spec.settings.get("auth")
        scheme = next(iter(auth), "") if isinstance(auth, Mapping) else ""
        where = "sandbox" if name in environment.sandbox else scheme
        click.echo(f"{name}  {spec.connector}" + (f"  {where}" if where else ""))
        for line in budget_lines(spec.settings.get("limits"), known.get(name)):
            click.echo(f"  {line}")
    return EXIT_OK


@command.command()
@click.argument("names", nargs=-1)
@_ENV
def check(names: tuple[str, ...], env: str | None) -> int:
    """Do the credentials work, is the system there, how long do tokens last, what is left of its limits?

    A connection that is paused is asked all the same; when it answers, the pause is over.
    Exit code 4 when a system does not answer or refuses, 2 when a setting is missing.
    """
    configure("auto", "warning")
    project = load_project(Path.cwd())
    environment = project.environment(env)
    for name in names:
        project.connection(name, environment)  # a misspelt name is said before any system is asked
    code = EXIT_OK
    with project_vault(project, environment) as vault, existing_budgets(project, environment) as budgets:
        for name in names or tuple(project.connections):
            code = max(code, _checked(project, environment, name, vault, budgets))
    return code


def _checked(
    project: Project, environment: Environment, name: str, vault: Vault | None, budgets: Budgets | None
) -> int:
    from flowrun.connections import opened
    from flowrun.pacing.gate import patience

    told: list[str] = []

    def hear(_connection: str, kind: str, words: str, _expires_at: object) -> None:
        told.append(f"  {kind}: {words}")

    try:
        with opened(
            project, environment, (name,), discover(),
            now=system_clock, vault=vault, on_trouble=hear, budgets=budgets,
        ) as connections, patience(insist=True):  # fmt: skip
            connector = connections[name]
            if not isinstance(connector, Checks):
                click.echo(f"{name}: cannot be checked")
                return EXIT_OK
            health = connector.check()
            lines = _token(name, connector, vault)
            limits = project.connection(name, environment).settings.get("limits")
            lines += [f"  {line}" for line in budget_lines(limits, budgets.of(name) if budgets else None)]
    except ProjectError as error:
        click.echo(f"{name}: {error.message}" + (f" ({error.help})" if error.help else ""))
        return EXIT_USAGE
    except ConnectorError as error:
        health, lines = Health(False, error.message), []
    mark = click.style("works", fg="green") if health.ok else click.style("FAILED", fg="red")
    click.echo("\n".join([f"{name}: {mark}: {health.message}", *lines, *told]))
    return EXIT_OK if health.ok else EXIT_OUTSIDE


def _token(name: str, connector: Any, vault: Vault | None) -> list[str]:
    """What may be shown of a connection's token."""
    from flowrun.tokens import Renewing

    auth = getattr(getattr(connector, "http", None), "auth", None)
    if not isinstance(auth, Renewing):
        return []
    scheme, left = auth.about()
    facts = [scheme, "no token" if left is None else f"the token ends in {span(left)}"]
    row = next((one for one in vault.states() if one.connection == name), None) if vault is not None else None
    if row is not None and row.renewed_at is not None:
        facts.append(f"renewed {span((system_clock() - row.renewed_at).total_seconds())} ago")
    if row is not None and row.refresh_expires_at is not None:
        facts.append(f"the grant ends in {span((row.refresh_expires_at - system_clock()).total_seconds())}")
    return ["  " + "; ".join(facts)]


@command.command()
@click.argument("name")
@click.option("--paste", is_flag=True, help="Paste the address that the system leads to, instead of waiting for it.")
@click.option("--no-browser", is_flag=True, help="Only print the address; open it wherever you like on this machine.")
@click.option("--wait", "wait_minutes", default=10, show_default=True, help="Minutes to wait for a yes.")
@_ENV
def authorize(name: str, paste: bool, no_browser: bool, wait_minutes: int, env: str | None) -> int:
    """Let a person say yes, and store the grant (scheme oauth2_authorization_code)."""
    from flowrun.connections import client_of
    from flowrun.credentials.schemes import AuthorizationCode, read_scheme
    from flowrun.tokens.authorize import Loopback, ask, code_of, exchange, keep

    configure("auto", "warning")
    project = load_project(Path.cwd())
    environment = project.environment(env)
    settings = project.resolve(project.connection(name, environment).settings)
    scheme = read_scheme(settings.get("auth"))
    if not isinstance(scheme, AuthorizationCode):
        raise ProjectError(f"connection '{name}' needs no person to say yes", help=f"flowrun connections check {name}")
    with project_vault(project, environment) as vault:
        if vault is None:
            raise ProjectError(
                "the grant must be stored encrypted, and flowrun.yaml names no key",
                help="store: { key: { env: FLOWRUN_KEY } }; make one with: openssl rand -base64 32",
            )
        loopback = None if paste else Loopback(scheme.redirect_url)
        question = ask(scheme, loopback.url if loopback else scheme.redirect_url or "http://127.0.0.1/callback")
        click.echo(f"Open this address, log in and say yes:\n\n{question.url}\n")
        if loopback is None:
            code = code_of(question, click.prompt("The address you were led to (or the code in it)"))
        else:
            if not no_browser:
                with only_harmless():
                    click.launch(question.url)
            code = loopback.wait(question, wait_minutes * 60.0)
        with client_of(scheme.token_url, settings, project.root) as client:
            token = exchange(question, code, client, name)
        keep(vault, name, token, scheme)
    ends = f", good for {span(token.refresh_left)} unless renewed" if token.refresh_left is not None else ""
    click.echo(f"{name}: the grant is stored{ends}. Try it: flowrun connections check {name}")
    return EXIT_OK


@command.command(name="pull-contract")
@click.argument("name")
@click.argument("object")
@_ENV
def pull_contract(name: str, object: str, env: str | None) -> int:
    """Read the live system's own description of an object and pin it under contracts/."""
    from flowrun.connections import opened

    configure("auto", "warning")
    project = load_project(Path.cwd())
    environment = project.environment(env)
    with (
        project_vault(project, environment) as vault,
        opened(project, environment, (name,), discover(), now=system_clock, vault=vault) as connections,
    ):
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
