"""flowrun sandbox: a simulated system to try things against."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import click

from flowrun.connector import discover
from flowrun.diagnostics import near
from flowrun.errors import ProjectError
from flowrun.testing.faults import Faults
from flowrun.values import Secret, encode_json


@click.command(name="sandbox")
@click.argument("connector")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0: any free one.")
@click.option("--faults", "spec", default="", help="429*2,503:0.1,reset_after:0.05;seed=7")
def command(connector: str, port: int, spec: str) -> None:
    """Serve a simulated system on this machine until you press Ctrl-C."""
    from flowrun.connections import simulator_of

    registry = discover()
    if connector not in registry:
        guess = near(connector, registry)
        raise ProjectError(
            f"no connector is named '{connector}'",
            help=f"did you mean '{guess}'?" if guess else f"installed: {', '.join(registry)}",
        )
    simulator = simulator_of(registry[connector], connector)
    simulator.furnish()
    simulator.faults = Faults.parse(spec)
    with ExitStack() as stack:
        try:
            base_url = stack.enter_context(simulator.running(port))
        except OSError as error:
            raise ProjectError(f"port {port}: {error.strerror}", help="choose another --port, or 0 for any") from None
        try:
            click.echo(f"simulated {connector} at {base_url}")
            click.echo("connection settings:")
            for key, value in simulator.connection_settings().items():
                click.echo(f"  {key}: {encode_json(_shown(value)).decode()}")
            click.echo("stop it with Ctrl-C")
            threading.Event().wait()
        except KeyboardInterrupt:
            click.echo("stopped")


def _shown(value: Any) -> Any:
    """A simulated system has no secret to keep."""
    if isinstance(value, Mapping):
        return {key: _shown(inner) for key, inner in value.items()}
    return value.reveal() if isinstance(value, Secret) else value
