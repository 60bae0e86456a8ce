"""The HTTP client a connector is handed: credentials, time limits, budget, size limit, a guard over where it may go.

Redirects are not followed: they come back as answers, and a connector reports them.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from ipaddress import ip_address

import httpx

from flowrun.certificates import OwnCertificate
from flowrun.egress import GuardedBackend, Reach, Resolve, deadline, resolve, sending_while
from flowrun.errors import ProjectError, Refused
from flowrun.pacing.gate import Gate
from flowrun.pacing.rates import Rates
from flowrun.values import Secret

MAX_ANSWER = 64 * 1024 * 1024  # bytes of one answer, unpacked
ASK_SECS, ASK_TIMEOUT = 30.0, 15.0  # seconds a token request may take: whole, and without any progress
_BLOCK = 64 * 1024
_TOTAL = 4  # a whole request may take so many times the limit of one step
_NO_LOGS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy")


@dataclass(frozen=True, slots=True)
class Limits:
    """rates: how many requests in which time. concurrent: at once, in this process. timeout: seconds without any
    progress; a whole request may take four times as long. max_answer: bytes of an answer, unpacked."""

    rates: Rates = field(default_factory=Rates)
    concurrent: int = 8
    timeout: float = 30.0
    max_answer: int = MAX_ANSWER


def build_client(
    base_url: str,
    *,
    auth: httpx.Auth | None = None,
    limits: Limits | None = None,
    allow_private: bool = False,
    verify: str | bool = True,
    cert: OwnCertificate | None = None,
    transport: httpx.BaseTransport | None = None,
    resolve: Resolve = resolve,
    gate: Gate | None = None,
) -> httpx.Client:
    """A client bound to one origin.

    verify: a file of trusted authorities beside the known ones; False to trust anybody. cert: our own certificate, for
    systems that ask for one. transport: stands in for the network. gate: whose turn it is; None: the limits' own
    pace, in this process. Raises ProjectError for an address or a file that
    is none.
    """
    url = origin_of(base_url)
    limits = limits or Limits()
    if transport is None:
        transport = _network(url, limits, allow_private, ssl_context(verify, cert), resolve, cert)
    _silence()
    guarded = Budgeted(transport, limits, url, gate or Gate(url.host, limits.rates))
    connect = getattr(auth, "connect", None)
    if connect is not None:  # it asks for tokens by itself
        connect(httpx.Client(transport=guarded, timeout=min(limits.timeout, ASK_TIMEOUT), trust_env=False))
    return httpx.Client(
        base_url=base_url.rstrip("/") + "/",
        auth=auth,
        timeout=limits.timeout,
        follow_redirects=False,
        transport=guarded,
        headers={"user-agent": "flowrun", "accept-encoding": "gzip, deflate"},
        trust_env=False,
    )


def origin_of(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ProjectError(f"base_url is no address: {error}", help="https://host/path") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ProjectError("base_url is no address of a web service", help="https://host/path")
    if url.userinfo:
        raise ProjectError("base_url holds a user and password", help="put them under auth: { basic: … }")
    if url.query:
        raise ProjectError("base_url holds a query", help="https://host/path; keys go under auth: { api_key: … }")
    return url


def ssl_context(verify: str | bool = True, cert: OwnCertificate | None = None) -> ssl.SSLContext:
    """Raises ProjectError for files that cannot be used."""
    context = httpx.create_ssl_context(verify=verify is not False, trust_env=False)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if isinstance(verify, str):
        try:
            context.load_verify_locations(verify)
        except (OSError, ssl.SSLError) as error:
            raise ProjectError(f"{verify} cannot be used: {error.strerror or error}", help="a PEM file") from None
    if cert is not None:
        cert.load(context)
    return context


def _network(
    url: httpx.URL,
    limits: Limits,
    allow_private: bool,
    context: ssl.SSLContext,
    resolve: Resolve,
    cert: OwnCertificate | None,
) -> httpx.HTTPTransport:
    inner = httpx.HTTPTransport(
        verify=context,
        http2=url.scheme == "https" and find_spec("h2") is not None,
        # One more than calls may run, so that a token can always be asked for.
        limits=httpx.Limits(max_connections=limits.concurrent + 1, max_keepalive_connections=limits.concurrent),
        trust_env=False,
    )
    reach: Reach = "private" if allow_private else "loopback" if _is_loopback(url.host) else "public"
    inner._pool._network_backend = GuardedBackend(  # the only door httpx leaves for this
        reach, resolve=resolve, before_tls=cert.renew if cert is not None else None
    )
    return inner


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class _Silent(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING


_silent = _Silent()


def _silence() -> None:
    """The libraries' lines carry whole addresses and headers; no level that anybody sets brings them back."""
    for name in _NO_LOGS:
        logger = logging.getLogger(name)
        if _silent not in logger.filters:
            logger.addFilter(_silent)


class Budgeted(httpx.BaseTransport):
    """Same origin only; at most so many at once, each in its turn; answers of bounded size, in bounded time."""

    def __init__(self, inner: httpx.BaseTransport, limits: Limits, origin: httpx.URL, gate: Gate) -> None:
        self._inner = inner
        self._limits = limits
        self._origin = _origin(origin)
        self._slots = threading.BoundedSemaphore(limits.concurrent)
        self._gate = gate

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Raises Refused for another origin (an address out of data: a next link, a Location), BudgetSpent when it
        is not its turn for long, httpx errors else."""
        if request.extensions.get("flowrun.token"):
            return self._for_a_token(request)
        if _origin(request.url) != self._origin:
            raise Refused(f"an address leads to {request.url.host or 'nowhere'}, which is not this connection's host")
        if not self._slots.acquire(timeout=self._limits.timeout * _TOTAL):
            raise httpx.PoolTimeout("every slot of this connection is taken", request=request)
        once = _Once(self._slots.release)
        try:
            once.also(self._gate.enter())
            deadline.at = time.monotonic() + self._limits.timeout * _TOTAL
            response = self._inner.handle_request(_with_key(request))
            self._gate.hear(response.status_code, response.headers)
            return _bounded(response, self._limits.max_answer, once)
        except BaseException:
            once()
            raise
        finally:
            deadline.at = None

    def _for_a_token(self, request: httpx.Request) -> httpx.Response:
        """Without waiting, since calls that hold every slot may be waiting for it, and whoever renews holds a lease; it
        counts, so that others wait. To any host, since the address stands in the settings."""
        self._gate.spend()
        try:
            most = min(ASK_SECS, self._limits.timeout * _TOTAL)
            deadline.at = time.monotonic() + most
            with sending_while(lambda: True):
                return _bounded(self._inner.handle_request(request), self._limits.max_answer, lambda: None)
        finally:
            deadline.at = None

    def close(self) -> None:
        self._inner.close()


def _with_key(request: httpx.Request) -> httpx.Request:
    """The request with the key that its credentials want in the address."""
    pair: tuple[str, Secret] | None = request.extensions.get("flowrun.query")
    if pair is None:
        return request
    url = request.url.copy_set_param(pair[0], pair[1].reveal())
    return httpx.Request(
        request.method, url, headers=request.headers, stream=request.stream, extensions=request.extensions
    )


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)


class _Once:
    """Calls its functions the first time only, the last one first: a stream may be closed twice."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._calls = [call]
        self._lock = threading.Lock()
        self._done = False

    def __call__(self) -> None:
        with self._lock:
            done, self._done = self._done, True
        if not done:
            for call in reversed(self._calls):
                call()

    def also(self, call: Callable[[], None]) -> None:
        self._calls.append(call)


def _bounded(response: httpx.Response, most: int, done: Callable[[], None]) -> httpx.Response:
    """The response with its body unpacked here, block by block, where a bomb can be stopped."""
    packed = response.headers.get("content-encoding", "identity").strip().lower()
    headers = response.headers
    if packed in ("gzip", "x-gzip", "deflate"):
        kept = [(k, v) for k, v in headers.raw if k.lower() not in (b"content-encoding", b"content-length")]
        headers = httpx.Headers(kept)
    elif packed not in ("", "identity"):
        response.close()
        raise httpx.DecodingError(f"the answer is packed in a way that was not asked for ({packed[:20]})")
    stream = _Capped(response.stream, most, done, packed if headers is not response.headers else "", time.monotonic)
    return httpx.Response(response.status_code, headers=headers, stream=stream, extensions=response.extensions)


class _Capped(httpx.SyncByteStream):
    """Bytes of an answer, unpacked, until it grows beyond its limit or past its deadline."""

    def __init__(
        self,
        stream: httpx.SyncByteStream | httpx.AsyncByteStream,
        most: int,
        done: Callable[[], None],
        packed: str,
        clock: Callable[[], float],
    ) -> None:
        assert isinstance(stream, httpx.SyncByteStream)
        self._stream = stream
        self._most = most
        self._done = done
        self._packed = packed
        self._until = getattr(deadline, "at", None)
        self._clock = clock

    def __iter__(self) -> Iterator[bytes]:
        total = 0
        blocks = _unpacked(self._raw(), self._packed) if self._packed else self._raw()
        for block in blocks:
            total += len(block)
            if total > self._most:
                raise httpx.ReadError(f"the answer is larger than {self._most} bytes")
            yield block

    def _raw(self) -> Iterator[bytes]:
        """The deadline also holds while the body is read, and for a stream that stands in for the network."""
        chunks = iter(self._stream)
        while True:
            if self._until is not None and self._clock() > self._until:
                raise httpx.ReadTimeout("the whole request took too long")
            deadline.at = self._until
            try:
                chunk = next(chunks, None)
            finally:
                deadline.at = None
            if chunk is None:
                return
            yield chunk

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._done()


def _unpacked(chunks: Iterator[bytes], packed: str) -> Iterator[bytes]:
    """gzip (several members too) or deflate, in blocks of bounded size. Raises httpx.DecodingError."""
    bits = 31 if "gzip" in packed else 15
    unpacker, started = zlib.decompressobj(bits), False
    try:
        for chunk in chunks:
            block = b""
            while chunk or len(block) == _BLOCK:  # a full block may leave more inside
                if unpacker.eof:
                    unpacker = zlib.decompressobj(bits)
                try:
                    block = unpacker.decompress(chunk, _BLOCK)
                except zlib.error:
                    if started or bits != 15:
                        raise
                    bits = -15  # some servers send bare deflate under this name
                    unpacker = zlib.decompressobj(bits)
                    block = unpacker.decompress(chunk, _BLOCK)
                started = True
                if block:
                    yield block
                chunk = unpacker.unconsumed_tail or (unpacker.unused_data if unpacker.eof else b"")
        if started and not unpacker.eof:
            raise zlib.error("cut short")
    except zlib.error as error:
        raise httpx.DecodingError(f"the packed answer cannot be read: {error}") from None
