"""flowrun sandbox: a simulated system to try things against."""

from __future__ import annotations

import threading

import click

from flowrun.connector import discover
from flowrun.errors import ProjectError
from flowrun.testing.faults import Faults


@click.command(name="sandbox")
@click.argument("connector")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0: any free one.")
@click.option("--faults", "spec", default="", help="429*2,503:0.1,reset_after:0.05;seed=7")
def command(connector: str, port: int, spec: str) -> None:
    """Serve a simulated system on this machine until you press Ctrl-C."""
    from flowrun.connections import simulator_of

    registry = discover()
    if connector not in registry:
        raise ProjectError(f"no connector is named '{connector}'", help=f"installed: {', '.join(registry)}")
    simulator = simulator_of(registry[connector], connector)
    simulator.faults = Faults.parse(spec)
    try:
        with simulator.running(port) as base_url:
            click.echo(f"simulated {connector} at {base_url}")
            click.echo("connection settings:")
            for key, value in simulator.connection_settings().items():
                click.echo(f"  {key}: {value}")
            click.echo("stop it with Ctrl-C")
            try:
                threading.Event().wait()
            except KeyboardInterrupt:
                click.echo("stopped")
    except OSError as error:
        raise ProjectError(f"port {port} cannot be used: {error.strerror}", help="another --port, or 0") from None
