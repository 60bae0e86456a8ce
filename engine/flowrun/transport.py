"""The HTTP client a connector is handed: credentials, time limits, budget, size limit, and a guard over where it goes.

The guard looks at the address a name resolves to at the moment of connecting, and connects to that very address, so a
name that changes its mind (DNS rebinding) gains nothing. Redirects are not followed.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import httpcore
import httpx

from flowrun.errors import ProjectError

MAX_ANSWER = 64 * 1024 * 1024  # bytes of one answer


@dataclass(frozen=True, slots=True)
class Limits:
    """rate: requests a second (None: as many as may be). concurrent: at once. timeout: seconds for each step."""

    rate: float | None = None
    concurrent: int = 8
    timeout: float = 30.0


def build_client(
    base_url: str,
    *,
    auth: httpx.Auth | None = None,
    limits: Limits | None = None,
    allow_private: bool = False,
    verify: Any = True,
    cert: Any = None,
    transport: httpx.BaseTransport | None = None,
) -> httpx.Client:
    """A client bound to one origin. Raises ProjectError for an address that is none."""
    url = httpx.URL(base_url)
    if url.scheme not in ("http", "https") or not url.host:
        raise ProjectError(
            f"base_url is no address of a web service: {url.scheme or '?'}://…", help="https://host/path"
        )
    if url.userinfo:
        raise ProjectError("base_url holds a user and password", help="put them under auth: { basic: … }")
    limits = limits or Limits()
    private = allow_private or _is_loopback(url.host)
    if transport is None:
        inner = httpx.HTTPTransport(verify=verify, cert=cert, limits=httpx.Limits(max_connections=limits.concurrent))
        inner._pool._network_backend = GuardedBackend(private)  # the only door httpx leaves for choosing the address
        transport = inner
    return httpx.Client(
        base_url=base_url.rstrip("/") + "/",
        auth=auth,
        timeout=limits.timeout,
        follow_redirects=False,
        transport=Budgeted(transport, limits, url),
        headers={"user-agent": "flowrun", "accept-encoding": "identity"},
        trust_env=False,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class Budgeted(httpx.BaseTransport):
    """Same origin only, at most so many at once and so many a second, answers of bounded size."""

    def __init__(
        self,
        inner: httpx.BaseTransport,
        limits: Limits,
        origin: httpx.URL,
        *,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._inner = inner
        self._origin = (origin.scheme, origin.host, origin.port)
        self._slots = threading.BoundedSemaphore(limits.concurrent)
        self._gap = 1.0 / limits.rate if limits.rate else 0.0
        self._next = 0.0
        self._lock = threading.Lock()
        self._wait = wait

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        token_request = bool(request.extensions.get("flowrun.token"))
        if not token_request and (url.scheme, url.host, url.port) != self._origin:
            raise httpx.UnsupportedProtocol(f"{url.host} is not this connection's host")
        with self._slots:
            if self._gap:
                with self._lock:
                    now = time.monotonic()
                    at = max(now, self._next)
                    self._next = at + self._gap
                if at > now:
                    self._wait(at - now)
            response = self._inner.handle_request(request)
            if response.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
                response.close()
                raise httpx.ReadError("the answer is compressed, which was not asked for")
            return httpx.Response(
                response.status_code,
                headers=response.headers,
                stream=_Capped(response.stream),
                extensions=response.extensions,
            )

    def close(self) -> None:
        self._inner.close()


class _Capped(httpx.SyncByteStream):
    """Stops an answer that grows beyond all sense. Nothing is compressed, so bytes on the wire are bytes in memory."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Any:
        total = 0
        for chunk in self._stream:
            total += len(chunk)
            if total > MAX_ANSWER:
                raise httpx.ReadError(f"the answer is larger than {MAX_ANSWER} bytes")
            yield chunk

    def close(self) -> None:
        self._stream.close()


class GuardedBackend(httpcore.NetworkBackend):
    """Resolves once, refuses addresses that nobody may reach, connects to what it resolved."""

    def __init__(self, allow_private: bool, backend: httpcore.NetworkBackend | None = None) -> None:
        self._allow_private = allow_private
        self._backend = backend or httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError:
            raise httpcore.ConnectError(f"the name {host} cannot be resolved") from None
        addresses = [str(entry[4][0]) for entry in found]
        for address in addresses:
            refuse(address, self._allow_private)
        return self._backend.connect_tcp(addresses[0], port, timeout, local_address, socket_options)

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        raise httpcore.ConnectError("unix sockets are not reached")

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def refuse(address: str, allow_private: bool) -> None:
    """Raises httpcore.ConnectError for link-local and metadata addresses always, for private ones unless allowed."""
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif ip in _NAT64:
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        elif ip.sixtofour is not None:
            ip = ip.sixtofour
    if not ip.is_loopback and (ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip.is_reserved):
        raise httpcore.ConnectError("this address is never reached")
    if not allow_private and not ip.is_global:
        raise httpcore.ConnectError("private addresses need allow_private: true on the connection")
