"""flowrun run: one intake pass of a flow, then deliver."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from flowrun.alerts import guarded, hears, passed, unread
from flowrun.cli.alerts import tell
from flowrun.cli.main import EXIT_FINDINGS, EXIT_GUARD, EXIT_OK, EXIT_OUTSIDE
from flowrun.cli.output import say_outside
from flowrun.cli.project import held_store, of_one_map, open_flow, opened_store
from flowrun.cli.records import grouped, read_records
from flowrun.cli.stopping import stoppable
from flowrun.connector import Registry
from flowrun.errors import ConnectorError, GuardStopped
from flowrun.flow.model import Flow, Schedule, Webhook
from flowrun.logs import configure, redact
from flowrun.masking import mask_of
from flowrun.plan import Mapped, Plan
from flowrun.project import Environment, Project
from flowrun.runner import Summary, apply_all, query_of, run_flow
from flowrun.store import Incoming, Row
from flowrun.testing.flow_tests import describe
from flowrun.values import encode_json, system_clock


@click.command(name="run")
@click.argument("flow")
@click.option("--env", help="The environment; without it the first of flowrun.yaml.")
@click.option(
    "--input", "input_", type=click.Path(path_type=Path, exists=True), help="Records from a file instead of the source."
)
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path, exists=True),
    help="Do exactly what this file of flowrun plan says, or nothing.",
)
@click.option("--dry-run", is_flag=True, help="Map and print what would be sent; nothing is sent or held.")
@click.option("--limit", type=click.IntRange(1), help="At most so many records at intake.")
@click.option(
    "--wait", default=60.0, show_default=True, help="Seconds to wait for retries; later ones stay for the next run."
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Threads that deliver beside each other.",
)
@click.option("--override-guard", is_flag=True, help="Send although the flow's guard says it is too much.")
@click.option("--log", "log_form", type=click.Choice(["auto", "text", "json"]), default="auto", show_default=True)
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="warning", show_default=True
)
@click.option("--quiet", is_flag=True, help="Only the summary.")
def command(
    flow: str,
    env: str | None,
    input_: Path | None,
    plan_file: Path | None,
    dry_run: bool,
    limit: int | None,
    wait: float,
    workers: int,
    override_guard: bool,
    log_form: str,
    log_level: str,
    quiet: bool,
) -> int:
    """One intake pass of a flow (whatever its trigger), then deliver what is due.

    A second run over the same records sends nothing. With --plan, what `flowrun plan --output FILE` found is done: the
    planned bodies are sent and nothing else, and nothing at all when the target moved since (exit code 3). Exit code 1
    when records failed, 4 when the outside world did. Told to end (SIGTERM), it finishes what it is sending.
    """
    from flowrun.connections import opened, vault_of

    configure(log_form, log_level)
    if plan_file is not None and (input_ is not None or dry_run or limit is not None or workers > 1):
        raise click.UsageError("a plan has its records and its order: no --input, --limit, --dry-run or --workers")
    project, registry, checked, plan = open_flow(flow, env)
    if dry_run or plan_file is not None:
        of_one_map(checked, "run --dry-run" if dry_run else "run --plan")
    environment = project.environment(env)
    if plan_file is not None:
        return _planned(plan_file, project, environment, registry, checked, plan, wait, quiet)
    names = (*(() if input_ else (checked.source.connection,)), checked.target.connection, *checked.asked)
    for line in not_executed(checked, bool(input_)):
        click.echo(f"note: {line}", err=True)
    records = read_records(input_) if input_ else None
    if dry_run:
        with (
            closing(held_store(project, environment)) as held,
            opened(project, environment, names, registry, now=system_clock) as connections,
        ):
            return _dry(checked, plan, held, connections.get(checked.source.connection), records, limit, connections)
    store = opened_store(project, environment)
    try:
        vault = vault_of(project, store.database, now=system_clock)
        hear = hears(store, (checked,))
        with opened(
            project, environment, names, registry,
            now=system_clock, vault=vault, on_trouble=hear, budgets=store.budgets,
        ) as connections:  # fmt: skip
            source = None if input_ else connections[checked.source.connection]
            with Progress(quiet) as progress, stoppable() as stopping:
                try:
                    summary = run_flow(
                        checked,
                        plan,
                        target=connections[checked.target.connection],
                        store=store,
                        source=source,
                        records=records,
                        environment=environment.name,
                        connections=connections,
                        wait_secs=wait,
                        limit=limit,
                        workers=workers,
                        override_guard=override_guard,
                        report=progress.report,
                        stopping=stopping,
                    )
                except ConnectorError as error:
                    progress.stop()
                    say_outside(error, "what was read before is held and delivered; run again to go on")
                    unread(store, checked, error)
                    tell(store, project, environment)
                    return EXIT_OUTSIDE
                except GuardStopped as stopped:
                    progress.stop()
                    click.echo(f"error: {stopped.message}\n  = help: {stopped.help}", err=True)
                    guarded(store, checked, stopped)
                    tell(store, project, environment)
                    return EXIT_GUARD
            passed(store, checked, read=source is not None)
        print_summary(summary)
        if stopping.is_set():
            click.echo("  stopped before its end; run again to go on")
        tell(store, project, environment)
    finally:
        store.close()
    return exit_code(summary)


def not_executed(flow: Flow, from_file: bool) -> list[str]:
    """What the flow says that this command does not do."""
    notes = []
    trigger = flow.source.trigger
    if not from_file:
        if isinstance(trigger, Webhook):
            notes.append(f"trigger webhook {trigger.event}: run reads the source; flowrun serve receives")
        elif isinstance(trigger, Schedule):
            notes.append(f"trigger schedule '{trigger.cron}': run reads once, now")
    if flow.source.reconcile is not None:
        notes.append(f"reconcile: flowrun serve does it by the clock; both sides now: flowrun reconcile {flow.name}")
    return notes


class Progress:
    """Per-record lines; a moving count on a terminal."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self._live: Any = None
        self._task: Any = None
        self._terminal = sys.stderr.isatty() and not os.environ.get("NO_COLOR")

    def __enter__(self) -> Progress:
        if self._terminal:
            from rich.console import Console
            from rich.progress import Progress as Bar
            from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

            self._live = Bar(
                SpinnerColumn(),
                TextColumn("{task.completed} records"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._live.start()
            self._task = self._live.add_task("records", total=None)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def report(self, row: Row, outcome: str, words: str) -> None:
        if self._live is not None:
            self._live.advance(self._task)
        if self.quiet or (outcome in ("skipped", "unchanged") and self._terminal):
            return
        colour = {"confirmed": "green", "dead": "red", "waiting": "yellow"}.get(outcome)
        line = f"{click.style(outcome, fg=colour)}  {row.key}" + (f"  {words}" if words else "")
        if self._live is not None:
            self._live.console.print(line, markup=False, highlight=False)
        else:
            click.echo(line)


def print_summary(summary: Summary) -> None:
    c = summary.counts
    parts = [f"{summary.read} read", f"{summary.received} new", f"{c.confirmed} confirmed"]
    parts += [
        f"{count} {word}"
        for count, word in (
            (c.unchanged, "unchanged"),
            (c.skipped, "skipped"),
            (c.dead, "dead"),
            (summary.waiting, "waiting"),
            (c.warnings, "warnings"),
        )
        if count
    ]
    click.echo(f"run {summary.run} of {summary.flow}: {', '.join(parts)}; {c.sends} sent")
    for reason, count in c.skips.items():
        click.echo(f"  skipped by {reason}: {count}")
    for name, secs in summary.waits.items():
        click.echo(f"  waited {secs} s for the budget of {name}")
    if c.paused:
        click.echo(f"  paused: {c.paused}")
    elif summary.waiting and summary.next_due_in is None:
        click.echo("  waiting records stand behind dead letters of their keys")
    elif summary.waiting and summary.next_due_in is not None:
        at = (datetime.now(UTC) + timedelta(seconds=summary.next_due_in)).strftime("%H:%M:%S")
        click.echo(
            f"  waiting records are due from {at} UTC; run again then" + (f" (last: {c.outside})" if c.outside else "")
        )
    if c.dead:
        click.echo("  next: flowrun dlq list")


def exit_code(summary: Summary) -> int:
    c = summary.counts
    if c.paused or (summary.waiting and c.outside):
        return EXIT_OUTSIDE
    return EXIT_FINDINGS if c.dead else EXIT_OK


def _planned(
    file: Path,
    project: Project,
    environment: Environment,
    registry: Registry,
    flow: Flow,
    plan: Plan,
    wait: float,
    quiet: bool,
) -> int:
    """Apply a plan."""
    from flowrun.cli.plan import refusal
    from flowrun.connections import opened, vault_of
    from flowrun.planning import PlanRefused, apply_plan, read_plan, target_info

    try:
        document = read_plan(file)
        store = opened_store(project, environment)
        try:
            vault = vault_of(project, store.database, now=system_clock)
            names = (flow.target.connection, *flow.asked)
            hear = hears(store, (flow,))
            with (
                opened(
                    project,
                    environment,
                    names,
                    registry,
                    now=system_clock,
                    vault=vault,
                    on_trouble=hear,
                    budgets=store.budgets,
                ) as connections,
                Progress(quiet) as progress,
            ):
                applied = apply_plan(
                    document,
                    flow,
                    plan,
                    target=connections[flow.target.connection],
                    info=target_info(project, environment, registry, flow),
                    store=store,
                    environment=environment.name,
                    values=environment.values,
                    connections=connections,
                    wait_secs=wait,
                    report=progress.report,
                )
            tell(store, project, environment)
        finally:
            store.close()
    except PlanRefused as error:
        for line in refusal(error):
            click.echo(redact(line), err=True)
        return EXIT_GUARD
    except ConnectorError as error:
        click.echo(redact(f"error: {error.error_class}: {error.message}"), err=True)
        click.echo("nothing was sent; the plan can be applied later", err=True)
        return EXIT_OUTSIDE
    if applied.before:
        click.echo(f"{applied.before} of {len(document['records'])} records of the plan had ended before")
    print_summary(applied.summary)
    return exit_code(applied.summary)


def _dry(flow: Flow, plan: Any, store: Any, source: Any, records: Any, limit: int | None, connections: Any) -> int:
    """One JSON line per record that would be sent; the rest in words on standard error."""
    from flowrun.planning.taking import row_of

    failed = False
    count = 0
    mask = mask_of(flow)
    if records is None:
        records = (r for page in source.read(query_of(flow, store.cursors.current(flow.name))) for r in page.records)
    for record in grouped(flow, plan, records):
        if limit is not None and count >= limit:
            break
        count += 1
        identity = plan.identify(record)
        key = getattr(identity, "key", "?")
        row = row_of(flow.name, Incoming(key, None, key, record), count, "received", None)
        outcome = apply_all(flow, plan, store, [row], connections)[0]
        if isinstance(outcome, Mapped):
            click.echo(
                encode_json(
                    {"key": key, "action": flow.target.action, "body": mask.body(outcome.body, record)}
                ).decode()
            )
        else:
            failed = failed or not describe(outcome).startswith("skipped")
            said = mask.text(describe(outcome), record, field=getattr(outcome, "field", ""))
            click.echo(f"{key}: {said}", err=True)
    click.echo(f"dry run: {count} records; nothing was sent or held", err=True)
    return EXIT_FINDINGS if failed else EXIT_OK
