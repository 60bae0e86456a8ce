"""A service of the shipped project on a real socket, against the two simulated systems."""

from __future__ import annotations

import faulthandler
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from flowrun.connector import discover
from flowrun.project import load_project
from flowrun.service import Deployment, Service, load_flows
from flowrun.store import Store, open_store
from tests.conftest import connect_erp, connect_shop

ORDERS = "xcart-orders-to-s4"


class Serving:
    """url: where it listens. http: a client for it."""

    def __init__(self, service: Service, url: str, http: httpx.Client) -> None:
        self.service = service
        self.store: Store = service.store
        self.url = url
        self.http = http

    def hook(self, head: Any, body: bytes, connection: str = "xcart") -> httpx.Response:
        return self.http.post(f"/hooks/{connection}", content=body, headers=head)

    def metric(self, name: str) -> dict[str, float]:
        """What stands in braces → value."""
        found = {}
        for line in self.http.get("/metrics").text.splitlines():
            label, _, value = line.rpartition(" ")
            if label.partition("{")[0] == name:
                found[label.partition("{")[2].rstrip("}")] = float(value)
        return found


def deployment(root: Path, store: Store, shop: Any, erp: Any, **changes: Any) -> Deployment:
    """changes: of connectors, by connection name."""
    project = load_project(root)
    environment = project.environment("test")
    flows = load_flows(project, environment, discover())
    connections = {"xcart": connect_shop(shop, root), "s4": connect_erp(erp, root), **changes}
    return Deployment(project, environment, flows, connections, store)


@contextmanager
def serving(
    root: Path, place: Path | str, shop: Any, erp: Any, *, connections: Any = None, **more: Any
) -> Iterator[Serving]:
    """``more`` goes to the Service."""
    store = open_store(place)
    try:
        service = Service(deployment(root, store, shop, erp, **(connections or {})), **more)
        with socketed(service.app) as url, httpx.Client(base_url=url, trust_env=False, timeout=10) as http:
            service.start()
            try:
                yield Serving(service, url, http)
            finally:
                if not service.stop(10):
                    faulthandler.dump_traceback(all_threads=True)  # who does not come back
                    pytest.fail("the service does not end")
    finally:
        store.close()


@contextmanager
def socketed(app: Any) -> Iterator[str]:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        sock.close()


class Process:
    """``flowrun serve`` as a process of its own."""

    def __init__(self, root: Path, place: Path | str, shop: Any, erp: Any, *args: str) -> None:
        text = (root / "flowrun.yaml").read_text()
        auth = erp.oauth_settings()["auth"]["oauth2_client_credentials"]
        for name, value in (
            ("S4_TOKEN_URL", auth["token_url"]),
            ("XCART_URL", shop.base_url),
            ("S4_URL", erp.base_url),
        ):
            more = "" if name == "S4_TOKEN_URL" else "\n    allow_private: true"
            text = text.replace("{ env: " + name + " }", value + more)
        text = "\n".join(line for line in text.splitlines() if "limits:" not in line)
        (root / "flowrun.yaml").write_text(text + "\n")
        settings = shop.connection_settings()
        environ = {
            **os.environ, "FLOWRUN_STORE": str(place), "NO_COLOR": "1",
            "FLOWRUN_SECRET_XCART_API_KEY": settings["api_key"],
            "FLOWRUN_SECRET_XCART_WEBHOOK_SECRET": settings["webhook_secret"],
            "FLOWRUN_SECRET_S4_CLIENT_ID": auth["client_id"],
            "FLOWRUN_SECRET_S4_CLIENT_SECRET": auth["client_secret"].reveal(),
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flowrun", "serve", "--env", "test", "--port", "0", "--log", "json", *args],
            cwd=root, env=environ, stdout=subprocess.PIPE, stderr=(root / "serve.log").open("ab"), text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert " at http://" in line, line + (root / "serve.log").read_text()
        self.url = line.rpartition(" at ")[2].strip()
        self.http = httpx.Client(base_url=self.url, trust_env=False, timeout=10)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)
        self.http.close()

    def end(self, secs: float = 30) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        code = self.process.wait(secs)
        self.http.close()
        return code


def until(found: Callable[[], Any], secs: float = 15.0) -> Any:
    """What ``found`` gives once it is true. Fails after so long."""
    end = time.monotonic() + secs
    while True:
        value = found()
        if value:
            return value
        assert time.monotonic() < end, f"not within {secs} s"
        time.sleep(0.02)


def placed(shop: Any, numbers: Any) -> list[int]:
    """Orders in the shop, each with its number."""
    for number in numbers:
        shop.place_order([("ab-1", "Mug", number % 9 + 1, "10.00")], order_id=number)
    return list(numbers)


def delivered(erp: Any) -> list[int]:
    """Numbers of the shop's orders that stand in S/4HANA, once for each that stands there."""
    return sorted(int(one["PurchaseOrderByCustomer"].removeprefix("XC-")) for one in erp.orders)


def known_customer(place: Path | str) -> None:
    store = open_store(place)
    try:
        store.xrefs.put([("customers", "42", "17100001")], "tester")
    finally:
        store.close()
