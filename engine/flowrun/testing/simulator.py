"""The base of every simulator: a small HTTP server on 127.0.0.1, with faults on request.

A subclass implements ``handle``. The same object can serve real sockets (``running()``) or stand behind an httpx
client without any (``transport()``). State is one JSON value, so a sandbox survives a restart.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx

from flowrun.testing.faults import Faults
from flowrun.values import Clock, encode_json, system_clock


@dataclass(frozen=True, slots=True)
class SimRequest:
    """headers: lower-case names. path: percent-decoded, without the query. raw_path: as sent. query: decoded pairs."""

    method: str
    path: str
    raw_path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class SimResponse:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cookies: tuple[str, ...] = ()


def json_response(value: Any, status: int = 200, **headers: str) -> SimResponse:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return SimResponse(status, encode_json(value), {"content-type": "application/json", **named})


class Simulator:
    """log: every request that reached ``handle``. lock: held while ``handle`` runs, so state needs no other care."""

    name: ClassVar[str] = "simulator"

    def __init__(self, *, faults: Faults | None = None, now: Clock = system_clock) -> None:
        self.faults = faults or Faults()
        self.now = now
        self.lock = threading.RLock()
        self.log: list[SimRequest] = []
        self.base_url = ""

    def handle(self, request: SimRequest) -> SimResponse:
        """Answer one request. Called under ``lock``."""
        raise NotImplementedError

    def connection_settings(self) -> dict[str, Any]:
        """What flowrun.yaml would say to reach this simulator; secrets as plain text, they are made up."""
        return {"base_url": self.base_url}

    def dump(self) -> Any:
        """The state as a JSON value."""
        return None

    def load(self, state: Any) -> None:
        """Take over what ``dump`` gave."""

    def answer(self, request: SimRequest) -> SimResponse:
        with self.lock:
            self.log.append(request)
            return self.handle(request)

    @contextmanager
    def running(self, port: int = 0) -> Iterator[str]:
        """Serve until the block ends; gives the base address."""
        server = _Server(("127.0.0.1", port), self)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        self.base_url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield self.base_url
        finally:
            server.shutdown()
            server.server_close()
            thread.join(5)

    def transport(self) -> httpx.MockTransport:
        """An httpx transport that asks this simulator without a socket; socket faults become httpx errors."""
        self.base_url = self.base_url or "http://simulator.test"

        def serve(request: httpx.Request) -> httpx.Response:
            fault = self.faults.next(request.method, request.url.path)
            asked = _from_httpx(request)
            if fault is not None and fault.before is not None:
                answer = fault.before
                return httpx.Response(answer.status, headers=answer.headers, content=answer.body)
            if fault is not None and fault.kind in ("timeout_before", "half_open"):
                raise httpx.ReadTimeout("no answer", request=request)
            if fault is not None and fault.kind == "reset_before":
                raise httpx.ConnectError("refused", request=request)
            answer = self.answer(asked)
            if fault is not None and fault.kind in ("timeout_after", "slow_drip"):
                raise httpx.ReadTimeout("no answer", request=request)
            if fault is not None and fault.kind in ("reset_after", "truncated"):
                raise httpx.ReadError("connection reset", request=request)
            headers = [*answer.headers.items(), *(("set-cookie", cookie) for cookie in answer.cookies)]
            return httpx.Response(answer.status, headers=headers, content=answer.body)

        return httpx.MockTransport(serve)


def _from_httpx(request: httpx.Request) -> SimRequest:
    target = request.url.raw_path.decode("ascii")
    return _request(request.method, target, {k.lower(): v for k, v in request.headers.items()}, request.read())


def _request(method: str, target: str, headers: Mapping[str, str], body: bytes) -> SimRequest:
    parts = urlsplit(target)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return SimRequest(method, unquote(parts.path), parts.path, query, headers, body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], simulator: Simulator) -> None:
        self.simulator = simulator
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _serve(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length) if length else b""
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = _request(self.command, self.path, headers, body)
        simulator = self.server.simulator
        fault = simulator.faults.next(request.method, request.path)
        kind = fault.kind if fault is not None else ""
        if fault is not None and fault.before is not None:
            return self._send(fault.before)
        if kind in ("timeout_before", "half_open"):
            return self._hang(simulator.faults.hang_secs)
        if kind == "reset_before":
            return self._reset()
        answer = simulator.answer(request)
        if kind == "timeout_after":
            return self._hang(simulator.faults.hang_secs)
        if kind == "reset_after":
            return self._reset()
        return self._send(answer, kind)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_MERGE = _serve

    def _send(self, answer: SimResponse, kind: str = "") -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        for cookie in answer.cookies:
            self.send_header("set-cookie", cookie)
        self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        if self.command == "HEAD":
            return None
        if kind == "truncated":
            self.wfile.write(answer.body[: len(answer.body) // 2])
            return self._reset()
        if kind == "slow_drip":
            for index in range(len(answer.body)):
                self.wfile.write(answer.body[index : index + 1])
                self.wfile.flush()
                time.sleep(self.server.simulator.faults.hang_secs / 10)
            return None
        self.wfile.write(answer.body)
        return None

    def _hang(self, secs: float) -> None:
        time.sleep(secs)
        self.close_connection = True

    def _reset(self) -> None:
        """Close with a reset instead of a farewell."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def finish(self) -> None:
        with suppress(OSError, ValueError):  # we closed it on purpose
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: ``Simulator.log`` has every request."""
