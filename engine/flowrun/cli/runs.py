"""flowrun runs: past runs and what became of their records."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click

from flowrun.cli.main import EXIT_OK
from flowrun.cli.project import known_flow, project_store
from flowrun.errors import ProjectError
from flowrun.showing import Masks


@click.command(name="runs")
@click.argument("run", type=int, required=False)
@click.option("--flow", help="Only runs of this flow.")
@click.option("--env", help="The environment; without it the first of flowrun.yaml.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
def command(run: int | None, flow: str | None, env: str | None, limit: int) -> int:
    """List past runs; with a number, the records that this run took in."""
    project, store = project_store(env)
    try:
        known_flow(project, store, flow)
        if run is None:
            for entry in store.runs(flow, limit):
                at = datetime.fromtimestamp(entry["started_at"], UTC).strftime("%Y-%m-%d %H:%M:%S")
                counts = json.loads(entry["counts"]) if entry["counts"] else {}
                words = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing to do"
                ended = "" if entry["ended_at"] else "  (did not end)"
                click.echo(f"{entry['id']:>5}  {at}  {entry['flow']}  {words}{ended}")
            return EXIT_OK
        rows = Masks(project).rows(store.records(run=run))
        if not rows:
            if not any(entry["id"] == run for entry in store.runs(limit=1_000_000)):
                raise ProjectError(f"there is no run {run}", help="flowrun runs")
            click.echo(f"run {run} took in no records")
        for row in rows:
            words = row.error_message or row.reason or ""
            click.echo(f"{row.seq:>5}  {row.state:<10}  {row.flow}  {row.key}" + (f"  {words}" if words else ""))
    finally:
        store.close()
    return EXIT_OK
