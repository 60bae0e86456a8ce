"""The base of every simulator: a small HTTP server on 127.0.0.1, with faults on request.

A subclass implements ``handle``. The same object can serve real sockets (``running()``) or stand behind an httpx
client without any (``transport()``). State is one JSON value, so a sandbox survives a restart.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx

from flowrun.testing.faults import REDIRECTS, Fault, Faults
from flowrun.values import Clock, encode_json, system_clock

MAX_BODY = 16 * 1024 * 1024  # bytes of one request
_HTML = {"content-type": "text/html"}
_JSON = {"content-type": "application/json"}


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
    return SimResponse(status, encode_json(value), {**_JSON, **named})


class Simulator:
    """log: every request that reached ``handle``. lock: held while ``handle`` runs, so state needs no other care.

    rate_limit: (requests, seconds) beyond which it answers 429 with Retry-After; None: no limit.
    mangle: changes every answer before it is sent; tests set it. served: requests answered, token requests included.
    """

    name: ClassVar[str] = "simulator"

    def __init__(self, *, faults: Faults | None = None, now: Clock = system_clock) -> None:
        self.faults = faults or Faults()
        self.now = now
        self.lock = threading.RLock()
        self.log: list[SimRequest] = []
        self.base_url = ""
        self.rate_limit: tuple[int, float] | None = None
        self.mangle: Callable[[SimRequest, SimResponse], SimResponse] | None = None
        self._recent: deque[float] = deque()
        self._firsts: dict[str, SimResponse] = {}

    @classmethod
    def for_settings(cls, settings: Mapping[str, Any]) -> Simulator:
        """A simulator for a connection with these settings; a generic connector's serves what they describe."""
        return cls()

    # -- what a subclass says --------------------------------------------------------------------------------------

    def handle(self, request: SimRequest) -> SimResponse:
        """Answer one request. Called under ``lock``."""
        raise NotImplementedError

    def connection_settings(self) -> dict[str, Any]:
        """What flowrun.yaml would say to reach this simulator; secrets as plain text, they are made up."""
        return {"base_url": self.base_url}

    def furnish(self) -> None:
        """Put in a little of everything, so that flows can be tried at once: what a sandbox holds at its beginning."""

    def dump(self) -> Any:
        """The state as a JSON value."""
        return None

    def load(self, state: Any) -> None:
        """Take over what ``dump`` gave."""

    def expire_tokens(self) -> None:
        """Access tokens given so far are no longer good."""

    def error_in_200(self, request: SimRequest) -> SimResponse:
        """The system's own way to say no with status 200."""
        return json_response({"error": {"code": "SIM", "message": "not accepted"}})

    # -- answering -------------------------------------------------------------------------------------------------

    def answer(self, request: SimRequest) -> SimResponse:
        with self.lock:
            self.log.append(request)
            wait = self._too_fast()
            if wait:
                return SimResponse(429, b'{"message":"too many requests"}', {**_JSON, "retry-after": str(wait)})
            found = self.handle(request)
            return self.mangle(request, found) if self.mangle is not None else found

    def _too_fast(self) -> int:
        """Seconds to wait, 0 when the limit is kept."""
        if self.rate_limit is None:
            return 0
        count, secs = self.rate_limit
        now = self.now().timestamp()
        while self._recent and self._recent[0] <= now - secs:
            self._recent.popleft()
        if len(self._recent) >= count:
            return max(1, int(self._recent[0] + secs - now + 0.999))
        self._recent.append(now)
        return 0

    def respond(self, request: SimRequest, fault: Fault | None) -> SimResponse | None:
        """The answer to give with this fault; None when the socket fails and nothing was done."""
        kind = fault.kind if fault is not None else ""
        if fault is None or fault.handled:
            if kind == "expired_token":
                self.expire_tokens()
            found = self.answer(request)
            return self._spoil(kind, request, found)
        return self._instead(kind, request)

    def _spoil(self, kind: str, request: SimRequest, found: SimResponse) -> SimResponse:
        if kind == "stuck" and request.method == "GET":
            return self._firsts.setdefault(request.path, found)
        if kind == "500_after":
            return SimResponse(500, b"<html>error</html>", dict(_HTML))
        if kind == "garbage_after":
            return SimResponse(200, b'{"d":{"results":[{"a"', dict(_JSON))
        return found

    def _instead(self, kind: str, request: SimRequest) -> SimResponse | None:
        faults = self.faults
        if kind in REDIRECTS or kind == "redirect":
            return SimResponse(307 if kind == "redirect" else int(kind), b"", {"location": faults.location})
        answers = {
            "429": SimResponse(429, b"", {"retry-after": faults.retry_after}),
            "503": SimResponse(503, b"<html>maintenance</html>", {"retry-after": faults.retry_after, **_HTML}),
            "500": SimResponse(500, b"<html>error</html>", dict(_HTML)),
            "401": SimResponse(401, b"<html>who?</html>", dict(_HTML)),
            "403": SimResponse(403, b"<html>no</html>", dict(_HTML)),
            "garbage": SimResponse(200, b'{"d":{"results":[{"a"', dict(_JSON)),
            "html200": SimResponse(200, b"<html>welcome</html>", dict(_HTML)),
            "empty200": SimResponse(200, b"", dict(_JSON)),
            "not_utf8": SimResponse(200, b'{"name":"M\xfcller"}', dict(_JSON)),
            "gzip_bomb": SimResponse(200, _bomb(), {**_JSON, "content-encoding": "gzip"}) if kind == "gzip_bomb" else None,
        }  # fmt: skip
        return self.error_in_200(request) if kind == "error_in_200" else answers.get(kind)

    # -- serving ---------------------------------------------------------------------------------------------------

    @contextmanager
    def running(self, port: int = 0, *, tls: Any = None) -> Iterator[str]:
        """Serve until the block ends; gives the base address. tls: an ``ssl.SSLContext`` for a server."""
        server = _Server(("127.0.0.1", port), self, tls)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        self.base_url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
        try:
            yield self.base_url
        finally:
            server.stopping.set()
            server.shutdown()
            server.server_close()
            thread.join(5)

    def transport(self) -> httpx.MockTransport:
        """An httpx transport that asks this simulator without a socket; socket faults become httpx errors."""
        self.base_url = self.base_url or "http://simulator.test"

        def serve(request: httpx.Request) -> httpx.Response:
            fault = self.faults.next(request.method, request.url.path)
            answer = self.respond(_from_httpx(request), fault)
            kind = fault.kind if fault is not None else ""
            if kind in ("timeout_before", "half_open", "timeout_after", "slow_drip"):
                raise httpx.ReadTimeout("no answer", request=request)
            if answer is None or kind in ("reset_after", "truncated"):
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


def _bomb() -> bytes:
    """Half a megabyte that unpacks to half a gigabyte of JSON text."""
    import zlib

    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = b"0" * (1 << 20)
    parts = [packer.compress(b'{"a":"')]
    parts += [packer.compress(block) for _ in range(512)]
    return b"".join([*parts, packer.compress(b'"}'), packer.flush()])


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], simulator: Simulator, tls: Any) -> None:
        self.simulator = simulator
        self.stopping = threading.Event()
        self._tls = tls
        super().__init__(address, _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the connection's own thread, so that a TLS handshake which hangs keeps nobody waiting."""
        if self._tls is not None:
            request = self._tls.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Quiet: clients that go away, handshakes that fail."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _serve(self) -> None:
        simulator = self.server.simulator
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = _request(self.command, self.path, headers, self._body())
        fault = simulator.faults.next(request.method, request.path)
        kind = fault.kind if fault is not None else ""
        answer = simulator.respond(request, fault)
        hang = simulator.faults.hang_secs
        if kind in ("timeout_before", "timeout_after"):
            return self._hang(hang)
        if kind == "half_open":
            return self._hang(3600.0)
        if kind == "huge":
            return self._flood()
        if answer is None or kind == "reset_after" or (kind == "truncated" and not answer.body):
            return self._reset()  # half of nothing is nothing: a 204 that is cut off never arrived
        return self._send(answer, kind)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_MERGE = do_OPTIONS = _serve

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            parts = []
            while size := int(self.rfile.readline(20).split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline(4)
            self.rfile.readline(4)
            return b"".join(parts)
        length = min(int(self.headers.get("content-length") or 0), MAX_BODY)
        body = self.rfile.read(length) if length else b""
        if len(body) < length:
            raise ConnectionResetError("the client went away in the middle of its request")
        return body

    def _send(self, answer: SimResponse, kind: str = "") -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        for cookie in answer.cookies:
            self.send_header("set-cookie", cookie)
        if answer.status not in (204, 304):
            self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if kind == "truncated":
            self.wfile.write(answer.body[: len(answer.body) // 2])
            self.wfile.flush()
            self.close_connection = True
        elif kind == "slow_drip":
            self._drip(answer.body)
        else:
            self.wfile.write(answer.body)

    def _drip(self, body: bytes) -> None:
        for index in range(len(body)):
            self.wfile.write(body[index : index + 1])
            self.wfile.flush()
            if self.server.stopping.wait(self.server.simulator.faults.hang_secs / 10):
                return

    def _flood(self) -> None:
        """An endless JSON text, until the client has had enough."""
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("connection", "close")
        self.end_headers()
        block = b"[" + b'"flood",' * 8192
        while not self.server.stopping.is_set():
            self.wfile.write(block)

    def _hang(self, secs: float) -> None:
        """Say nothing until the client goes away, the time is over or the server stops."""
        until = time.monotonic() + secs
        while time.monotonic() < until and not self.server.stopping.is_set():
            readable, _, _ = select.select([self.connection], [], [], 0.02)
            if readable:
                break  # the client has closed its end
        self.close_connection = True

    def _reset(self) -> None:
        """Close with a reset instead of a farewell."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def handle_one_request(self) -> None:
        with suppress(ConnectionError, TimeoutError, ValueError):  # the client went away, or we closed it on purpose
            super().handle_one_request()
            return
        self.close_connection = True

    def finish(self) -> None:
        with suppress(OSError, ValueError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: ``Simulator.log`` has every request."""
