"""flowrun resume: let what was paused go on."""

from __future__ import annotations

import click

from flowrun.cli.main import EXIT_OK
from flowrun.cli.pause import pausing
from flowrun.cli.project import who
from flowrun.errors import ProjectError


@click.command(name="resume")
@click.argument("what", metavar="FLOW|connection:NAME")
@click.option("--env", help="The environment; without it the first of flowrun.yaml.")
def command(what: str, env: str | None) -> int:
    """Let a paused flow or connection go on. What waited meanwhile is delivered in its order; audited.

    Example: flowrun resume connection:s4
    """
    kind = "connection" if what.startswith("connection:") else "flow"
    with pausing(env) as (_, pauses):
        if not pauses.resume(kind, what.removeprefix("connection:"), who()):
            names = [one.name if one.kind == "flow" else f"connection:{one.name}" for one in pauses.all()]
            raise ProjectError(f"{what} is not paused", help=f"paused: {', '.join(names) or 'nothing'}")
    click.echo(f"resumed {what}")
    return EXIT_OK
