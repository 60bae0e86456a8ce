"""flowrun state rotate-key: what is encrypted at rest, brought to what flowrun.yaml says now."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from flowrun.cli.main import EXIT_FINDINGS, EXIT_OK
from flowrun.cli.project import is_there, store_place, who
from flowrun.errors import ProjectError, StoreError
from flowrun.project import load_project
from flowrun.store.database import Database, open_database
from flowrun.store.forgetting import sweep
from flowrun.store.sealing import put_over, rewrite
from flowrun.values import system_clock

_SHOWN = 5


@click.command(name="rotate-key")
@click.option("--env", help="The environment; without it the first of flowrun.yaml.")
def rotate_key(env: str | None) -> int:
    """Encrypt stored tokens and payloads with the newest key of `store: { key: … }`, beside runs that go on.

    The key is NEW OLD: two keys, the newest first; each opens, the first closes. The same command encrypts what was
    written before `encrypt: true`, and opens everything after it was taken away. Killed, it goes on where it stopped.
    Exit code 1 when something is left.

    Example: flowrun state rotate-key --env prod
    """
    from flowrun.connections import cover_of, vault_of

    project = load_project(Path.cwd())
    place = store_place(project, project.environment(env))
    if not is_there(place):
        raise ProjectError(f"there is no store at {place} yet", help="flowrun run FLOW")
    if project.store_key is None:
        raise ProjectError(
            "flowrun.yaml names no key",
            help="store: { key: { env: FLOWRUN_KEY } }; the key that values were encrypted with opens them, too",
        )
    database = open_database(place, beside=True)
    try:
        vault = vault_of(project, database, now=system_clock)
        tokens = vault.rotate() if vault is not None else 0
        put_over(database, cover_of(project))
        done = rewrite(database, who(), _report)
        swept = _swept(database)
        key = f"key {database.cover.key_ids[0]}" if database.cover.encrypts else "no key: they are open"
    finally:
        database.close()
    click.echo(f"{done.rows} rows are now under {key}; {tokens} tokens under key {vault.key_id if vault else ''}")
    for name in done.unopened[:_SHOWN]:
        click.echo(f"  does not open, stays as it is: {name}")
    if done.left > 0:
        click.echo(f"  {done.left} rows were written otherwise meanwhile: start processes that began before anew")
    if done.left > 0 or done.unopened:
        click.echo("next: flowrun state verify, then flowrun state rotate-key again; keep the old key until then")
        return EXIT_FINDINGS
    if not swept:
        click.echo("free space may still hold what stood there before: once more while nothing else works on the store")
    click.echo("the old key is still needed for backups that were made before")
    return EXIT_OK


def _report(table: str, rows: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{table}: {rows} rows ", nl=False, err=True)


def _swept(database: Database) -> bool:
    try:
        sweep(database)
    except StoreError:
        return False
    return True
