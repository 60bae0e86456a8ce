"""flowrun serve: the long-running service."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click

from flowrun import spans
from flowrun.cli.main import EXIT_OK, EXIT_OUTSIDE
from flowrun.cli.project import opened_store
from flowrun.connector import discover
from flowrun.errors import ProjectError
from flowrun.logs import configure, log
from flowrun.project import load_project
from flowrun.store.access import Access
from flowrun.values import system_clock

EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - to be told apart


@click.command(name="serve")
@click.option("--env", help="The environment; without it the first of flowrun.yaml.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at; 0.0.0.0 is every one.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: any free one.")
@click.option(
    "--admin-port",
    type=click.IntRange(0, 65535),
    help="Serve the admin API there, at a port of its own; 0: any free one. Without it there is none.",
)
@click.option("--admin-host", default="127.0.0.1", show_default=True, help="The address of the admin API.")
@click.option("--admin-name", "admin_names", multiple=True, help="A Host name that the admin API answers to.")
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
def command(
    env: str | None,
    host: str,
    port: int,
    admin_port: int | None,
    admin_host: str,
    admin_names: tuple[str, ...],
    workers: int,
    grace: float,
    log_form: str,
    log_level: str,
) -> int:
    """Run all flows: webhooks as they come, polls and schedules by the clock, reconciliation behind every stream.

    Webhooks arrive at POST /hooks/CONNECTION and are answered once they are durable. GET /healthz, /readyz and /metrics
    tell how it is; the admin API has a port of its own (--admin-port). Several processes share a PostgreSQL store. Ends
    cleanly with Ctrl-C or SIGTERM; a second one ends it at once, and loses nothing either.
    """
    from flowrun.alerts import hears
    from flowrun.connections import opened, vault_of
    from flowrun.service import Deployment, Service, load_flows
    from flowrun.service.admin import LOOPBACK, AdminApp, Split
    from flowrun.service.deployment import connections_of, queues_of

    configure(log_form, log_level)
    spans.begin()
    project = load_project(Path.cwd())
    environment = project.environment(env)
    registry = discover()
    flows = load_flows(project, environment, registry)
    queues = queues_of(project, environment, registry, flows)
    socks = [_listen(host, port)]
    if admin_port is not None:
        socks.append(_admin_listen(admin_host, admin_port, admin_names))
    sock = socks[0]
    with ExitStack() as stack, closing(opened_store(project, environment)) as store:
        for one in socks:
            stack.enter_context(closing(one))
        if admin_port is not None:
            _refuse_open(admin_host in LOOPBACK, admin_host, store.access)
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
            deployment = Deployment(project, environment, flows, connections, store)
            service = Service(deployment, workers=workers)
            app = service.app
            if admin_port is not None:
                admin = AdminApp(deployment, names=(*admin_names, *_own_name(admin_host)), wake=service.wake)
                app = Split(app, admin, socks[1].getsockname()[1])
            server = _server(service, app, grace)
            service.start()
            address = f"http://{_shown(host)}:{sock.getsockname()[1]}"
            click.echo(f"flowrun serves {len(flows)} flows of {project.name} ({environment.name}) at {address}")
            for name in service.hooks.connections:
                click.echo(f"  webhooks of {name}: POST {address}/hooks/{name}")
            for name in service.queues:
                click.echo(f"  pulled: {name}")
            click.echo(f"  {address}/healthz  {address}/readyz  {address}/metrics")
            if admin_port is not None:
                click.echo(f"  admin API: http://{_shown(admin_host)}:{socks[1].getsockname()[1]}/api/v1/openapi.json")
            server.run(sockets=socks)
            whole = service.stop(grace)
            spans.end()
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


def _admin_listen(host: str, port: int, names: tuple[str, ...]) -> socket.socket:
    if host in EVERYWHERE and not names:
        raise ProjectError(
            f"--admin-host {host} needs --admin-name", help="say by which name the API is called: --admin-name NAME"
        )
    return _listen(host, port)


def _own_name(host: str) -> tuple[str, ...]:
    """An address of one interface is a name, too; the one for all of them is none."""
    return () if host in EVERYWHERE else (host,)


def _refuse_open(loopback: bool, host: str, access: Access) -> None:
    """Beyond this machine nothing is served that nobody could ask, nor by mistake."""
    if not loopback and not any(one.revoked_at is None for one in access.all()):
        raise ProjectError(
            f"the admin API does not listen at {host} while there is no token",
            help="flowrun tokens add NAME --role viewer",
        )


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _server(service: Any, app: Any, grace: float) -> Any:
    """Ends with a signal. A second one ends the process at once: what is held is durable, and what was on its way is
    asked for at the next start."""
    import uvicorn

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # ours stand already; uvicorn's would end the process before the store is closed

    server = Server(
        uvicorn.Config(
            app,
            proxy_headers=False,  # whoever counts failures by address wants the peer's own
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
