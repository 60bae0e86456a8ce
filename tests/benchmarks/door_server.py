"""A server for ``test_door_ratio``: the door of the shipped project's service, with the store behind it or with nothing.

Run as ``python -m tests.benchmarks.door_server KIND ROOT PLACE``; prints its port. KIND: ``held`` (what is answered is
durable), ``nothing`` (the same server, answered without holding).
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import uvicorn

from flowrun.connections import build
from flowrun.connector import discover
from flowrun.logs import configure
from flowrun.project import load_project
from flowrun.service import Deployment, Service, load_flows
from flowrun.store import open_store
from flowrun.values import system_clock

SHOP = {"base_url": "http://127.0.0.1:9", "api_key": "k", "webhook_secret": "bench", "profile": "compat"}
ERP = {"base_url": "http://127.0.0.1:9", "auth": {"basic": {"user": "u", "password": "p"}}}


def main(kind: str, root: Path, place: str) -> None:
    configure("json", "error")
    project, registry = load_project(root), discover()
    environment = project.environment("test")
    flows = load_flows(project, environment, registry)
    connections: dict[str, Any] = {
        "xcart": build(registry["xcart"], "xcart", SHOP, now=system_clock, root=root),
        "s4": build(registry["s4hana"], "s4", ERP, now=system_clock, root=root),
    }
    store = open_store(place if "://" in place else Path(place))
    service = Service(Deployment(project, environment, flows, connections, store))
    if kind == "nothing":

        async def answered(arrivals: Any) -> int:
            return len(arrivals)

        service.acceptor.accept = answered  # type: ignore[method-assign]
    service.acceptor.start()  # and no loop: what is measured is the door
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    print(sock.getsockname()[1], flush=True)
    config = uvicorn.Config(
        service.app, log_config=None, access_log=False, lifespan="off", ws="none", server_header=False
    )
    uvicorn.Server(config).run(sockets=[sock])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
