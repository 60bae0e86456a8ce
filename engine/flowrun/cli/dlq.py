"""flowrun dlq: dead letters — list, show, correct, replay, discard."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import click

from flowrun.cli.main import EXIT_OK
from flowrun.cli.project import known_flow, open_flow, project_store, who
from flowrun.cli.records import NOT_JSON
from flowrun.diagnostics import near
from flowrun.errors import ProjectError
from flowrun.logs import configure
from flowrun.store import Row, Store
from flowrun.values import decode_json, encode_json

_ENV = click.option("--env", help="The environment; without it the first of flowrun.yaml.")


@click.group(name="dlq")
def command() -> None:
    """List, show, edit and replay dead letters: records that no retry can help."""


def _letters(store: Store, flow: str | None, queue: str | None, key: str | None) -> list[Row]:
    return store.records(flow=flow, queue=queue, key=key, state="dead", limit=100_000)


def _one(store: Store, flow: str, key: str) -> Row:
    found = _letters(store, flow, None, key)
    if not found:
        keys = [row.key for row in _letters(store, flow, None, None)]
        guess = near(key, keys)
        known = ", ".join(keys[:10]) or "none"
        raise ProjectError(
            f"{flow} has no dead letter '{key}'", help=f"did you mean '{guess}'?" if guess else f"dead letters: {known}"
        )
    return found[-1]


@command.command(name="list")
@click.option("--flow", help="Only of this flow.")
@click.option("--queue", help="Only in this queue.")
@_ENV
def list_(flow: str | None, queue: str | None, env: str | None) -> int:
    """List dead letters, grouped by what went wrong."""
    project, store = project_store(env)
    try:
        known_flow(project, store, flow)
        rows = _letters(store, flow, queue, None)
    finally:
        store.close()
    causes: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        words = (row.error_message or "").replace(row.key, "…")
        causes.setdefault((row.flow, row.error_class or "", row.error_field or "", words), []).append(row)
    for (name, error_class, path, words), members in causes.items():
        field = f"{path}: " if path else ""
        click.echo(f"{name}: {error_class}: {field}{words}")
        for row in members[:20]:
            edited = "  (edited)" if row.edited else ""
            click.echo(f"  {row.key}  queue {row.queue}{edited}")
        if len(members) > 20:
            click.echo(f"  … and {len(members) - 20} more")
    click.echo(f"{len(rows)} dead letter{'s' * (len(rows) != 1)}")
    if rows:
        click.echo(f"next: flowrun dlq show {rows[0].flow} {rows[0].key}")
    return EXIT_OK


@command.command()
@click.argument("flow")
@click.argument("key")
@_ENV
def show(flow: str, key: str, env: str | None) -> int:
    """Show one: the record, what was made of it, and why it failed."""
    project, store = project_store(env)
    try:
        known_flow(project, store, flow)
        row = _one(store, flow, key)
    finally:
        store.close()
    click.echo(f"{row.flow} {row.key}  (queue {row.queue}, {row.attempts} sends{', edited' if row.edited else ''})")
    field = f"{row.error_field}: " if row.error_field else ""
    click.echo(f"{row.error_class}: {field}{row.error_message}")
    if row.error_place:
        click.echo(f"  at {row.error_place}")
    if row.error_help:
        click.echo(f"  = help: {row.error_help}")
    click.echo("record:")
    click.echo(_pretty(row.payload))
    if row.body is not None:
        click.echo("body:")
        click.echo(_pretty(row.body))
    click.echo(
        f"next: flowrun dlq edit {row.flow} {row.key} --set PATH=VALUE, then: flowrun dlq replay {row.flow} {row.key}"
    )
    return EXIT_OK


def _pretty(value: Any) -> str:
    import msgspec

    return msgspec.json.format(encode_json(value), indent=2).decode()


@command.command()
@click.argument("flow")
@click.argument("key")
@click.option(
    "--set", "changes", multiple=True, metavar="PATH=VALUE", help="items[0].sku=AB-1; the value as JSON, or text."
)
@click.option(
    "--file",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The whole corrected record, JSON.",
)
@_ENV
def edit(flow: str, key: str, changes: tuple[str, ...], file: Path | None, env: str | None) -> int:
    """Correct the source record; with neither --set nor --file in your editor."""
    project, store = project_store(env)
    try:
        known_flow(project, store, flow)
        row = _one(store, flow, key)
        payload: Any = copy.deepcopy(row.payload)
        if file is not None:
            payload = _decoded(file.read_bytes())
        elif changes:
            for change in changes:
                path, equals, text = change.partition("=")
                if not equals:
                    raise ProjectError(f"'{change}' is not PATH=VALUE")
                _set(payload, path, text)
        else:
            text_ = click.edit(_pretty(payload) + "\n", extension=".json")
            payload = _decoded(text_) if text_ else payload
        if not isinstance(payload, dict):
            raise ProjectError("a record is an object {…}")
        if payload == row.payload:
            click.echo("nothing changed")
            return EXIT_OK
        store.letters.edit(row, payload, who())
    finally:
        store.close()
    click.echo(f"corrected {flow} {key}; next: flowrun dlq replay {flow} {key}")
    return EXIT_OK


def _decoded(text: str | bytes) -> Any:
    try:
        return decode_json(text)
    except NOT_JSON as error:
        raise ProjectError(f"not JSON: {error}") from None


def _set(payload: Any, path: str, text: str) -> None:
    try:
        value = decode_json(text)
    except ValueError:
        value = text
    at = payload
    parts = path.replace("]", "").replace("[", ".").split(".")
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if isinstance(at, list):
            if not part.isdigit() or int(part) >= len(at):
                raise ProjectError(f"'{path}': there is no place {part}")
            if last:
                at[int(part)] = _like(at[int(part)], value, text)
            else:
                at = at[int(part)]
        elif isinstance(at, dict):
            if last:
                at[part] = _like(at.get(part), value, text)
            elif part not in at:
                raise ProjectError(f"'{path}': the record has no '{part}'", help=f"it has: {', '.join(at)}")
            else:
                at = at[part]
        else:
            raise ProjectError(f"'{path}': '{part}' is inside a plain value")


def _like(old: Any, new: Any, text: str) -> Any:
    """Text stays text: --set customer_id=42 over "41" gives "42"."""
    return text if isinstance(old, str) and not isinstance(new, str) else new


@command.command()
@click.argument("flow")
@click.argument("keys", nargs=-1)
@click.option("--all", "all_", is_flag=True, help="Every dead letter of the flow.")
@_ENV
def replay(flow: str, keys: tuple[str, ...], all_: bool, env: str | None) -> int:
    """Deliver again through the flow as it is now, in order of arrival."""
    from flowrun.cli.alerts import tell, troubles
    from flowrun.cli.run import Progress, exit_code, print_summary
    from flowrun.connections import opened, vault_of
    from flowrun.runner import run_flow
    from flowrun.values import system_clock

    if not keys and not all_:
        raise ProjectError("which ones?", help=f"flowrun dlq replay {flow} KEY…, or --all")
    configure("auto", "warning")
    project, store = project_store(env)
    try:
        known_flow(project, store, flow)
        rows = _letters(store, flow, None, None) if all_ else [_one(store, flow, key) for key in keys]
        _, registry, checked, plan = open_flow(flow, env)
        environment = project.environment(env)
        live = tuple(lookup.connection for lookup in checked.lookups.values() if lookup.connection)
        vault = vault_of(project, store.database, now=system_clock)
        names = (checked.target.connection, *live)
        hear = troubles(store, (checked,))
        with opened(
            project, environment, names, registry, now=system_clock, vault=vault, on_trouble=hear
        ) as connections:
            store.letters.replay(rows, who())
            with Progress(False) as progress:
                summary = run_flow(
                    checked,
                    plan,
                    target=connections[checked.target.connection],
                    store=store,
                    intake=False,
                    environment=environment.name,
                    connections=connections,
                    report=progress.report,
                )
        print_summary(summary)
        tell(store, project, environment)
    finally:
        store.close()
    return exit_code(summary)


@command.command()
@click.argument("flow")
@click.argument("keys", nargs=-1, required=True)
@click.option("--reason", required=True, help="Why these are given up; kept in the audit.")
@_ENV
def discard(flow: str, keys: tuple[str, ...], reason: str, env: str | None) -> int:
    """Give up dead letters, for a reason."""
    project, store = project_store(env)
    try:
        known_flow(project, store, flow)
        store.letters.discard([_one(store, flow, key) for key in keys], reason, who())
    finally:
        store.close()
    click.echo(f"discarded {len(keys)}")
    return EXIT_OK
