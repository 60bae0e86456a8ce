"""flowrun reconcile: both sides of a flow compared as a whole; what differs repaired."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flowrun.cli.main import EXIT_FINDINGS, EXIT_GUARD, EXIT_OK, EXIT_OUTSIDE
from flowrun.cli.output import print_json, say_outside
from flowrun.cli.project import existing_vault, held_store, of_one_map, open_flow, opened_store, who
from flowrun.cli.records import read_records
from flowrun.errors import ConnectorError, GuardStopped
from flowrun.flow.model import Flow
from flowrun.logs import configure, redact
from flowrun.plan import Plan
from flowrun.testing.comparison import shown
from flowrun.values import system_clock

if TYPE_CHECKING:
    from flowrun.reconcile import Report
    from flowrun.runner import Summary
    from flowrun.store import Store

COLOURS = {"missing": "red", "different": "yellow", "extra": "magenta", "double": "magenta", "rejected": "red"}


@click.command(name="reconcile")
@click.argument("flow")
@click.option("--env", help="The environment; without it the first of flowrun.yaml.")
@click.option("--full", is_flag=True, help="All of the source; so it is without --since, too.")
@click.option("--since", help="Only what changed at the source since then (a value of the flow's cursor).")
@click.option(
    "--input", "input_", type=click.Path(path_type=Path, exists=True), help="Records from a file instead of the source."
)
@click.option("--repair", "repairs", is_flag=True, help="Deliver what is missing or different once more.")
@click.option(
    "--dry-run", is_flag=True, help="With --repair: say what would be repaired, and whether the guard allows it."
)
@click.option("--override-guard", is_flag=True, help="Repair although the flow's guard says it is too much.")
@click.option(
    "--wait", default=60.0, show_default=True, help="Seconds to wait for retries; later ones stay for the next run."
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(
    flow: str,
    env: str | None,
    full: bool,
    since: str | None,
    input_: Path | None,
    repairs: bool,
    dry_run: bool,
    override_guard: bool,
    wait: float,
    form: str,
) -> int:
    """Compare every record of the source, as the flow maps it, with what the target holds, with control totals.

    Without --repair nothing is written anywhere. With it, what is missing or different goes through the flow again,
    under its guard, each once; what is extra at the target stays there. Exit code 1 when both sides differ (after a
    repair: when something is left), 3 when the guard stops it, 4 when a side cannot be read.
    """
    from flowrun.connections import opened, vault_of
    from flowrun.planning import target_info
    from flowrun.reconcile import compare

    configure("auto", "warning")
    if full and since:
        raise click.UsageError("--full compares all of the source, --since a part of it")
    if dry_run and not repairs:
        raise click.UsageError("without --repair nothing is written anyway; --dry-run goes with --repair")
    project, registry, checked, plan = open_flow(flow, env)
    of_one_map(checked, "reconcile")
    environment = project.environment(env)
    names = (*(() if input_ else (checked.source.connection,)), checked.target.connection, *checked.asked)
    writes = repairs and not dry_run
    with ExitStack() as stack:
        store: Store = opened_store(project, environment) if writes else held_store(project, environment)
        stack.callback(store.close)
        more: dict[str, Any] = {"keep": False}
        if writes:
            more = {"vault": vault_of(project, store.database, now=system_clock), "budgets": store.budgets}
        else:
            more["vault"] = stack.enter_context(existing_vault(project, environment))
        try:
            connections = stack.enter_context(
                opened(project, environment, names, registry, now=system_clock, **more)
            )  # fmt: skip
            report = compare(
                checked,
                plan,
                source=None if input_ else connections[checked.source.connection],
                records=read_records(input_) if input_ else None,
                target=connections[checked.target.connection],
                info=target_info(project, environment, registry, checked),
                held=store,
                environment=environment.name,
                connections=connections,
                since=since,
            )
        except ConnectorError as error:
            say_outside(error, "there is no report, since not everything could be read")
            return EXIT_OUTSIDE
        stack.callback(report.close)
        return _ended(report, plan, store, connections, repairs, writes, override_guard, wait, form)


def _ended(
    report: Report,
    plan: Plan,
    store: Store,
    connections: Mapping[str, Any],
    repairs: bool,
    writes: bool,
    override_guard: bool,
    wait: float,
    form: str,
) -> int:
    """Print the report, then repair. Returns the exit code."""
    from flowrun.reconcile.repairing import check
    from flowrun.reconcile.words import plain

    said = plain(report, store.repairs.losses(report.flow.name))
    summary: Summary | None = None
    if form == "text":
        for line in lines(report, store):
            click.echo(redact(line))
    try:
        if writes:
            summary = _repaired(report, plan, store, connections, override_guard, wait)
        elif repairs and not override_guard:
            check(report, store)
    except GuardStopped as stopped:
        if form == "json":
            print_json({**said, "guard": stopped.message})
        click.echo(f"error: {stopped.message}\n  = help: {stopped.help}", err=True)
        return EXIT_GUARD
    left = report.differences - (0 if summary is None else report.repairable)
    if form == "json":
        print_json({**said, **({"repair": summary.as_counts()} if summary is not None else {})})
    elif summary is not None:
        from flowrun.cli.run import print_summary

        print_summary(summary)
    elif repairs and not writes:
        click.echo(f"dry run: {report.repairable} would be repaired; nothing was written")
    elif report.repairable:
        click.echo(f"next: flowrun reconcile {report.flow.name} --env {report.environment} --repair")
    if summary is not None:
        from flowrun.cli.run import exit_code

        return exit_code(summary) or (EXIT_FINDINGS if left else EXIT_OK)
    return EXIT_FINDINGS if report.differences else EXIT_OK


def _repaired(
    report: Report, plan: Plan, store: Store, connections: Mapping[str, Any], override_guard: bool, wait: float
) -> Summary | None:
    """Put what differs back and deliver it, with what waits already; None when there is nothing to do."""
    from flowrun.cli.run import Progress
    from flowrun.cli.stopping import stoppable
    from flowrun.reconcile import repair
    from flowrun.runner import refuse_paused, run_flow

    flow: Flow = report.flow
    if not report.repairable and not store.lanes.waiting(flow.name):
        return None
    refuse_paused(flow, store, reads=False, delivers=True)
    run = store.begin_run(flow.name, report.environment, flow.hash, "repair")
    try:
        repair(report, store, run=run, who=who(), override_guard=override_guard)
    finally:
        store.end_run(run, {**report.as_counts(), "received": store.received(run)})
    with Progress(True) as progress, stoppable() as stopping:
        return run_flow(
            flow,
            plan,
            target=connections[flow.target.connection],
            store=store,
            intake=False,
            environment=report.environment,
            connections=connections,
            wait_secs=wait,
            override_guard=override_guard,
            report=progress.report,
            stopping=stopping,
        )


def lines(report: Report, store: Store) -> Iterator[str]:
    """The report as a person reads it: totals first, then each difference."""
    from flowrun.reconcile.words import MOST, headline, lost, remarks

    yield headline(report)
    for kind, facts in report.spool.differences(limit=MOST):
        object_ = f"  {facts['object']}" if facts.get("object") and facts["object"] != facts["key"] else ""
        why = f"  {facts['why']}" if facts.get("why") else ""
        yield f"  {click.style(kind, fg=COLOURS[kind], bold=True)}  {facts['key']}{object_}{why}"
        for one in facts.get("fields") or ():
            yield f"    {one['field']}: {_value(one, 'old')} → {_value(one, 'new')}"
    if report.differences > MOST:
        yield f"  … and {report.differences - MOST:,} more"
    for line in remarks(report):
        yield f"  note: {line}"
    if words := lost(store.repairs.losses(report.flow.name)):
        yield f"  {words}"


def _value(one: Mapping[str, Any], name: str) -> str:
    return shown(one[name]) if name in one else "absent"
