"""flowrun serve: the long-running service."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click

from flowrun.cli.main import EXIT_OK, EXIT_OUTSIDE
from flowrun.cli.project import opened_store
from flowrun.connector import discover
from flowrun.errors import ProjectError
from flowrun.logs import configure, log
from flowrun.project import load_project
from flowrun.values import system_clock

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@click.command(name="serve")
@click.option("--env", help="The environment; without it the first of flowrun.yaml.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at; 0.0.0.0 is every one.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: any free one.")
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=8,
    show_default=True,
    help="Threads that deliver beside each other.",
)
@click.option("--grace", default=25.0, show_default=True, help="Seconds for what is on its way when it is to end.")
@click.option("--log", "log_form", type=click.Choice(["auto", "text", "json"]), default="auto", show_default=True)
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
def command(env: str | None, host: str, port: int, workers: int, grace: float, log_form: str, log_level: str) -> int:
    """Run all flows: webhooks as they come, polls and schedules by the clock, reconciliation behind every stream.

    Webhooks arrive at POST /hooks/CONNECTION and are answered once they are durable. GET /healthz, /readyz and /metrics
    tell how it is. Several processes share a PostgreSQL store. Ends cleanly with Ctrl-C or SIGTERM; a second one ends
    it at once, and loses nothing either.
    """
    from flowrun.alerts import hears
    from flowrun.connections import opened, vault_of
    from flowrun.service import Deployment, Service, load_flows
    from flowrun.service.deployment import connections_of, queues_of

    configure(log_form, log_level)
    project = load_project(Path.cwd())
    environment = project.environment(env)
    registry = discover()
    flows = load_flows(project, environment, registry)
    queues = queues_of(project, environment, registry, flows)
    sock = _listen(host, port)
    with closing(sock), closing(opened_store(project, environment)) as store:
        vault = vault_of(project, store.database, now=system_clock)
        hear = hears(store, [one.flow for one in flows.values()])
        with opened(
            project,
            environment,
            (*connections_of(flows), *queues),
            registry,
            now=system_clock,
            vault=vault,
            on_trouble=hear,
            budgets=store.budgets,
        ) as connections:
            service = Service(Deployment(project, environment, flows, connections, store), workers=workers)
            server = _server(service, grace)
            service.start()
            address = f"http://{_shown(host)}:{sock.getsockname()[1]}"
            click.echo(f"flowrun serves {len(flows)} flows of {project.name} ({environment.name}) at {address}")
            for name in service.hooks.connections:
                click.echo(f"  webhooks of {name}: POST {address}/hooks/{name}")
            for name in service.queues:
                click.echo(f"  pulled: {name}")
            click.echo(f"  {address}/healthz  {address}/readyz  {address}/metrics")
            server.run(sockets=[sock])
            whole = service.stop(grace)
    log().info("stopped", whole=whole)
    return EXIT_OK if whole else EXIT_OUTSIDE


def _listen(host: str, port: int) -> socket.socket:
    """Bound before anything else is opened, so that a port that is taken is told at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(2048)
    except (OSError, UnicodeError) as error:
        found.close()
        words = getattr(error, "strerror", None) or str(error)
        raise ProjectError(
            f"cannot listen at {host}:{port}: {words}", help="choose another --port, or 0 for any"
        ) from None
    return found


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _server(service: Any, grace: float) -> Any:
    """Ends with a signal. A second one ends the process at once: what is held is durable, and what was on its way is
    asked for at the next start."""
    import uvicorn

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # ours stand already; uvicorn's would end the process before the store is closed

    server = Server(
        uvicorn.Config(
            service.app,
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            lifespan="off",
            ws="none",
            timeout_keep_alive=30,
            timeout_graceful_shutdown=max(1, int(grace)),
            backlog=2048,
        )
    )

    def end(number: int, _: FrameType | None) -> None:
        if service.draining:
            os._exit(128 + number)
        service.draining = True
        server.should_exit = True
        log().info("ending", signal=signal.Signals(number).name)

    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, end)
    return server
