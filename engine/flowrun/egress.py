"""Where a connection may go: addresses are judged when they are connected to, whatever the name said before.

The name is resolved once, every address it gives is judged, and one of those very addresses is connected to. So a name
that changes its mind (DNS rebinding), an odd spelling of an address, or an IPv6 wrapping of an IPv4 one gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import httpcore

from flowrun.errors import AuthFailed, DeliveryUnknown

Reach = Literal["public", "loopback", "private"]
"""public: the internet. loopback: also this machine (a sandbox). private: also private networks, by explicit wish."""

Resolve = Callable[[str, int], list[str]]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = tuple(ipaddress.ip_network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/96"))
_COMPATIBLE = ipaddress.ip_network("::/96")
# Cloud machines hand out credentials here; some of these are outside link-local.
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16")
)

deadline = threading.local()
"""``deadline.at``: when the request of this thread must be over, by ``time.monotonic``; absent: no limit."""


_sends: ContextVar[Callable[[], bool]] = ContextVar("sends", default=lambda: True)


@contextmanager
def sending_while(may: Callable[[], bool]) -> Iterator[None]:
    """Each time that bytes of a request are about to leave, ``may`` is asked: a process that was frozen, or waited for
    the budget of its connection, must not send what another one has taken over meanwhile."""
    token = _sends.set(may)
    try:
        yield
    finally:
        _sends.reset(token)


def forbidden(address: str, reach: Reach) -> str:
    """Why this address is not connected to; "" when it may be."""
    ip = _innermost(ipaddress.ip_address(address.split("%")[0]))
    if ip.is_loopback:
        return "" if reach != "public" else "an address of this machine needs allow_private: true on the connection"
    if ip in _METADATA or ip.is_link_local:
        return "a link-local or metadata address is never reached"
    if ip.is_multicast or ip.is_unspecified or ip.is_reserved:
        return "this address is never reached"
    if not ip.is_global and reach != "private":
        return "a private address needs allow_private: true on the connection"
    return ""


def _innermost(ip: Address) -> Address:
    """The IPv4 address inside an IPv6 one: mapped, compatible, 6to4, Teredo, NAT64."""
    if not isinstance(ip, ipaddress.IPv6Address):
        return ip
    inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
    wrapped = any(ip in network for network in _NAT64) or (ip in _COMPATIBLE and int(ip) > 1)
    return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if inner is None and wrapped else inner or ip


def resolve(host: str, port: int) -> list[str]:
    """Addresses of a name, in the order to try them. Raises httpcore.ConnectError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise httpcore.ConnectError(f"the name {host} cannot be resolved") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class GuardedBackend(httpcore.NetworkBackend):
    """Connects only where it may. Raises flowrun's AuthFailed for an address that is forbidden: no retry helps, and
    the connection should pause until somebody has looked."""

    def __init__(
        self,
        reach: Reach,
        *,
        resolve: Resolve = resolve,
        backend: httpcore.NetworkBackend | None = None,
        before_tls: Callable[[ssl.SSLContext], None] | None = None,
    ) -> None:
        self._reach = reach
        self._resolve = resolve
        self._before_tls = before_tls
        self._backend = backend or httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = self._resolve(host, port)
        for address in addresses:
            reason = forbidden(address, self._reach)
            if reason:
                raise AuthFailed(f"{host} leads to {address}: {reason}", help="check base_url, and who answers for it")
        failure: Exception = httpcore.ConnectError(f"the name {host} has no address")
        for address in addresses:
            try:
                stream = self._backend.connect_tcp(address, port, _left(timeout), local_address, socket_options)
                return _Timed(stream, self._before_tls)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        raise httpcore.ConnectError("unix sockets are not reached")

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


class _Timed(httpcore.NetworkStream):
    """A stream that also ends at the request's deadline: a byte a second is progress, and still no answer."""

    def __init__(
        self, inner: httpcore.NetworkStream, before_tls: Callable[[ssl.SSLContext], None] | None = None
    ) -> None:
        self._inner = inner
        self._before_tls = before_tls

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            return self._inner.read(max_bytes, _left(timeout, httpcore.ReadTimeout))
        except httpcore.ReadError as error:
            raise _not_trusted(error) from None  # TLS 1.3 says so only now

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not _sends.get()():
            raise DeliveryUnknown("the lease ended before the request left")  # one before it may have left in time
        self._inner.write(buffer, _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        if self._before_tls is not None:
            self._before_tls(ssl_context)
        try:
            return _Timed(self._inner.start_tls(ssl_context, server_hostname, _left(timeout)))
        except httpcore.ConnectError as error:
            raise _not_trusted(error) from None

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


_OUR_CERTIFICATE = ("CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "CERTIFICATE_EXPIRED", "CERTIFICATE_REVOKED",
                    "CERTIFICATE_UNKNOWN", "UNSUPPORTED_CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")  # fmt: skip
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "RECORD_LAYER_FAILURE")


def _not_trusted(error: httpcore.ConnectError | httpcore.ReadError) -> Exception:
    """A certificate that proves nothing is no matter of trying again; other failures of TLS may be."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return AuthFailed(
            f"the server's certificate is not trusted: {cause.verify_message}",
            code=str(cause.verify_code),
            help="if it is the right server, name its authority: verify: FILE.pem",
        )
    reason = (cause.reason or "").upper() if isinstance(cause, ssl.SSLError) else ""
    if "ALERT" in reason and any(reason.endswith(one) for one in _OUR_CERTIFICATE):
        return AuthFailed(
            "the server does not take our certificate",
            code=reason,
            help="client_cert (and client_key): is it there, in time, and known to the server?",
        )
    if reason in _NO_TLS:
        return AuthFailed("the server does not speak TLS here", code=reason, help="check the port in base_url")
    if any(word in reason for word in ("VERSION", "UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS")):
        return AuthFailed("the server speaks only versions of TLS that are no longer safe", code=reason)
    return error


def _left(timeout: float | None, late: type[Exception] = httpcore.ConnectTimeout) -> float | None:
    """Seconds this step may take. Raises when the deadline has passed."""
    at = getattr(deadline, "at", None)
    if at is None:
        return timeout
    left: float = at - time.monotonic()
    if left <= 0:
        raise late("the whole request took too long")
    return left if timeout is None else min(timeout, left)
