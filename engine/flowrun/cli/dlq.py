"""flowrun dlq: dead letters by cause — list, show, replay, discard; its other commands stand beside it."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from flowrun.cli.dlq_choose import CAUSE, ENV, counted, pretty
from flowrun.cli.dlq_edit import edit
from flowrun.cli.dlq_files import export, import_
from flowrun.cli.dlq_preview import preview
from flowrun.cli.dlq_review import review
from flowrun.cli.main import EXIT_OK
from flowrun.cli.masks import REVEAL, revealed
from flowrun.cli.project import known_flow, open_flow, project_store, who
from flowrun.cli.stopping import stoppable
from flowrun.errors import ProjectError
from flowrun.logs import configure
from flowrun.showing import Masks
from flowrun.store import Row, Store
from flowrun.store.causes import cause_id, clusters
from flowrun.store.choosing import MOST, chosen, letters, listed, of_cause, one_letter

_SHOWN = 5  # keys of one cause


@click.group(name="dlq")
def command() -> None:
    """Dead letters, records that no retry can help: see why, correct, preview, replay, or give up."""


@command.command(name="list")
@click.option("--flow", help="Only of this flow.")
@click.option("--queue", help="Only in this queue.")
@CAUSE
@ENV
def list_(flow: str | None, queue: str | None, cause: str | None, env: str | None) -> int:
    """List dead letters by cause, the largest first: how many, since when, an example. With --cause, all its keys."""
    project, store = project_store(env)
    try:
        known_flow(project, store, flow)
        rows = listed(store, flow, queue, cause)
    finally:
        store.close()
    found = clusters(rows)
    masks = Masks(project)
    for one in found:
        example = masks.of(one.flow).row(one.example)
        field = f"{example.error_field}: " if example.error_field else ""
        click.echo(f"{one.id}  {one.flow}: {one.error_class}: {field}{example.error_message}")
        span = f"{_time(one.first_at)} to {_time(one.last_at)}" if one.first_at < one.last_at else _time(one.last_at)
        edited = sum(row.edited for row in one.rows)
        queues = ", ".join(sorted({row.queue or "" for row in one.rows}))
        marks = f"; {edited} edited" if edited else ""
        click.echo(f"  {counted(len(one.rows), 'letter')}, {span}; queue {queues}{marks}")
        shown = one.rows if cause else one.rows[:_SHOWN]
        for row in shown:
            click.echo(f"    {row.key}" + ("  (edited)" if row.edited else ""))
        if len(shown) < len(one.rows):
            click.echo(f"    … and {len(one.rows) - len(shown)} more: flowrun dlq list --cause {one.id}")
    click.echo(f"{counted(len(rows), 'dead letter')}{f' of {len(found)} causes' if len(found) > 1 else ''}")
    if rows:
        first = found[0]
        if len(first.rows) == 1:
            click.echo(f"next: flowrun dlq show {first.flow} {first.example.key}")
        else:
            click.echo(f"next: flowrun dlq preview {first.flow} --cause {first.id}")
    return EXIT_OK


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


@command.command()
@click.argument("flow")
@click.argument("key", required=False)
@CAUSE
@REVEAL
@ENV
def show(flow: str, key: str | None, cause: str | None, reveal: bool, env: str | None) -> int:
    """Show one, or the first of a cause: the record, what was made of it, and why it failed."""
    if bool(key) == bool(cause):
        raise ProjectError("which one?", help=f"flowrun dlq show {flow} KEY, or --cause ID")
    project, store = project_store(env)
    try:
        known_flow(project, store, flow)
        row = of_cause(store, flow, cause)[0] if cause else one_letter(store, flow, key or "")
        id_ = cause_id(row)
        if reveal:
            revealed(store, [row], "dlq show")
        else:
            row = Masks(project).of(row.flow).row(row)
    finally:
        store.close()
    click.echo(
        f"{row.flow} {row.key}  (queue {row.queue}, {row.attempts} sends, cause {id_}"
        f"{', edited' if row.edited else ''})"
    )
    field = f"{row.error_field}: " if row.error_field else ""
    click.echo(f"{row.error_class}: {field}{row.error_message}")
    if row.error_place:
        click.echo(f"  at {row.error_place}")
    if row.error_help:
        click.echo(f"  = help: {row.error_help}")
    click.echo("record:")
    click.echo(pretty(row.payload))
    if row.body is not None:
        click.echo("body:")
        click.echo(pretty(row.body))
    click.echo(
        f"next: flowrun dlq edit {row.flow} {row.key} --set PATH=VALUE, then: flowrun dlq replay {row.flow} {row.key}"
    )
    return EXIT_OK


@command.command()
@click.argument("flow")
@click.argument("keys", nargs=-1)
@CAUSE
@click.option("--all", "all_", is_flag=True, help="Every dead letter of the flow.")
@click.option("--as-ran", is_flag=True, help="Send again what was sent before, whatever the flow says now.")
@ENV
def replay(flow: str, keys: tuple[str, ...], cause: str | None, all_: bool, as_ran: bool, env: str | None) -> int:
    """Deliver again through the flow as it is now, in order of arrival; each once, however often this is repeated.

    What is chosen is first put back durably. When this is cut off, the same again or `flowrun run` goes on.
    """
    from flowrun.alerts import hears
    from flowrun.cli.alerts import tell
    from flowrun.cli.run import Progress, exit_code, print_summary
    from flowrun.connections import opened, vault_of
    from flowrun.runner import run_flow
    from flowrun.values import system_clock

    configure("auto", "warning")
    project, store = project_store(env)
    try:
        known_flow(project, store, flow)
        rows = _to_replay(store, flow, keys, cause, all_)
        _, registry, checked, plan = open_flow(flow, env)
        environment = project.environment(env)
        vault = vault_of(project, store.database, now=system_clock)
        names = (checked.target.connection, *checked.asked)
        hear = hears(store, (checked,))
        with opened(
            project, environment, names, registry,
            now=system_clock, vault=vault, on_trouble=hear, budgets=store.budgets,
        ) as connections:  # fmt: skip
            if as_ran:
                store.letters.replay_as_ran(rows, who())
            else:
                store.letters.replay(rows, who())
            with Progress(False) as progress, stoppable() as stopping:
                summary = run_flow(
                    checked,
                    plan,
                    target=connections[checked.target.connection],
                    store=store,
                    intake=False,
                    environment=environment.name,
                    connections=connections,
                    report=progress.report,
                    stopping=stopping,
                )
        print_summary(summary)
        tell(store, project, environment)
    finally:
        store.close()
    return exit_code(summary)


def _to_replay(store: Store, flow: str, keys: tuple[str, ...], cause: str | None, all_: bool) -> list[Row]:
    """The chosen letters. What an earlier replay, which was cut off, has put back already is delivered with them."""
    back = store.open_records(flow, 0, MOST)
    open_keys = {row.key for row in back}
    left = tuple(key for key in keys if key not in open_keys or letters(store, flow, None, key))
    if keys and not left:
        return []
    if cause and any(row.error_class and cause_id(row) == cause for row in back):
        return [row for row in letters(store, flow) if cause_id(row) == cause]
    return chosen(store, flow, left, cause, all_, verb="replay")


@command.command()
@click.argument("flow")
@click.argument("keys", nargs=-1)
@CAUSE
@click.option("--reason", required=True, help="Why these are given up; kept in the audit.")
@ENV
def discard(flow: str, keys: tuple[str, ...], cause: str | None, reason: str, env: str | None) -> int:
    """Give up dead letters, for a reason."""
    if not reason.strip():
        raise ProjectError("--reason is empty", help="say in a few words why nobody needs these any more")
    project, store = project_store(env)
    try:
        known_flow(project, store, flow)
        rows = chosen(store, flow, keys, cause, verb="discard")
        count = store.letters.discard(rows, reason.strip(), who())
    finally:
        store.close()
    click.echo(f"discarded {count}")
    return EXIT_OK


for _other in (edit, preview, review, export, import_):
    command.add_command(_other)
