"""Where a connection may go, how much it may take, and how credentials travel."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpcore
import httpx
import pytest

from flowrun import transport
from flowrun.egress import GuardedBackend, forbidden
from flowrun.errors import AuthFailed, ConnectorError, Refused, Unavailable
from flowrun.tokens import open_auth
from flowrun.transport import Limits, build_client
from flowrun_connectors._http.errors import retry_after
from flowrun_connectors._json import parse_json

FORBIDDEN = [
    "169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "0.0.0.0", "::", "224.0.0.1", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1",
]  # fmt: skip
PRIVATE = [
    "127.0.0.1",
    "::1",
    "10.0.0.1",
    "192.168.1.1",
    "172.16.0.1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "100.64.0.1",
    "fd00::1",
]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_some_addresses_are_never_reached(address: str) -> None:
    assert all(forbidden(address, reach) for reach in ("public", "loopback", "private"))


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_need_a_word(address: str) -> None:
    assert "allow_private" in forbidden(address, "public")
    assert not forbidden(address, "private")


def test_public_addresses_are_reached() -> None:
    assert not forbidden("93.184.216.34", "public")
    assert not forbidden("2606:2800:220:1::1", "public")


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.1", "0177.0.0.1", "0", "localhost"])
def test_other_spellings_of_this_machine_open_no_connection(host: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.2)
    try:
        with pytest.raises(AuthFailed):
            GuardedBackend("public").connect_tcp(host, listener.getsockname()[1], timeout=1)
        with pytest.raises(TimeoutError):
            listener.accept()
    finally:
        listener.close()


def test_a_name_that_changes_its_mind_gains_nothing() -> None:
    """The address that was looked at is the address connected to."""
    answers = [["93.184.216.34"], ["127.0.0.1"]]
    went: list[str] = []

    class Spy(httpcore.NetworkBackend):
        def connect_tcp(self, host: str, port: int, *rest: Any, **more: Any) -> Any:
            went.append(host)
            raise httpcore.ConnectError("spy")

    backend = GuardedBackend("public", resolve=lambda host, port: answers.pop(0), backend=Spy())
    with pytest.raises(httpcore.ConnectError, match="spy"):
        backend.connect_tcp("rebind.example", 443)
    assert went == ["93.184.216.34"]


def client(handler: Any, **more: Any) -> httpx.Client:
    return build_client("https://api.example", transport=httpx.MockTransport(handler), **more)


def test_another_host_and_redirects_are_not_followed() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.host)
        return httpx.Response(307, headers={"location": "http://169.254.169.254/"})

    http = client(answer)
    assert http.post("orders").status_code == 307
    with pytest.raises(Refused):
        http.get("https://evil.example/")
    assert seen == ["api.example"]


def test_a_compressed_bomb_is_stopped_while_it_is_opened() -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    http = client(
        lambda r: httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(bomb)),
        limits=Limits(max_answer=100_000),
    )
    with pytest.raises(httpx.ReadError):
        http.get("x")


def test_an_endless_answer_is_cut() -> None:
    http = client(lambda r: httpx.Response(200, stream=httpx.ByteStream(b"0" * 2000)), limits=Limits(max_answer=1000))
    with pytest.raises(httpx.ReadError):
        http.get("x")


class TokenServer:
    def __init__(self) -> None:
        self.given = 0
        self.good = ""
        self.refuse = False
        self.lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self.lock:
            if request.url.path == "/token":
                if self.refuse:
                    return httpx.Response(401, json={"error": "invalid_client", "secret": "canary-1"})
                self.given += 1
                self.good = f"t{self.given}"
                return httpx.Response(200, json={"access_token": self.good, "expires_in": 3600})
            ok = request.headers.get("authorization") == f"Bearer {self.good}"
            return httpx.Response(200 if ok else 401)


def with_secret(secret: str) -> Any:
    settings = {"token_url": "https://login.example/token", "client_id": "id", "client_secret": secret}
    return open_auth("api", lambda: {"oauth2_client_credentials": settings})


def test_sixteen_at_once_ask_for_one_token() -> None:
    server = TokenServer()
    http = client(server, auth=with_secret("canary-2"))
    codes: list[int] = []
    threads = [threading.Thread(target=lambda: codes.append(http.get("x").status_code)) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(5)
    assert codes == [200] * 16
    assert server.given == 1


class Dripping(httpx.SyncByteStream):
    """A byte at a time, for four seconds."""

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(80):
            time.sleep(0.05)
            yield b" "


def test_a_token_that_never_comes_whole_ends_at_a_limit_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks holds a lease that is longer than this, and shorter than a patient connection's limit."""
    monkeypatch.setattr(transport, "ASK_SECS", 0.3)
    http = client(lambda request: httpx.Response(200, stream=Dripping()), auth=with_secret("canary-2"))
    begun = time.monotonic()
    with pytest.raises(Unavailable):
        http.get("x")
    assert time.monotonic() - begun < 3


def test_a_token_that_ended_is_renewed_once_and_a_refusal_says_no_secret() -> None:
    server = TokenServer()
    http = client(server, auth=with_secret("canary-2"))
    assert http.get("x").status_code == 200
    server.good = "revoked"
    assert http.get("x").status_code == 200
    assert server.given == 2
    server.good, server.refuse = "revoked", True
    with pytest.raises(AuthFailed) as caught:
        http.get("x")
    assert caught.value.code == "invalid_client"
    assert "canary" not in repr(caught.value) + caught.value.help


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("7", 7.0),
        ("-5", None),
        ("1000000000", 86400.0),
        ("soon", None),
        ("", None),
        ("nan", None),
        ("Tue, 24 Nov 2026 10:00:30 GMT", 30.0),
    ],
)
def test_retry_after_in_every_form(text: str, wanted: float | None) -> None:
    response = httpx.Response(429, headers={"retry-after": text} if text else {})
    assert retry_after(response, datetime(2026, 11, 24, 10, 0, 0, tzinfo=UTC)) == wanted


@pytest.mark.parametrize(
    "text",
    ['{"a":1,"a":2}', '{"a":NaN}', '{"a":Infinity}', '{"a":1e99999}', "[" * 200 + "]" * 200, "{", "", b"\xff\xfe"],
)
def test_bodies_that_break_the_rules(text: Any) -> None:
    with pytest.raises(ConnectorError):
        parse_json(text if isinstance(text, bytes) else text.encode())


def test_numbers_stay_exact() -> None:
    assert str(parse_json(b'{"a":1.10}')["a"]) == "1.10"
    with pytest.raises(Unavailable):
        parse_json(b"<html>")
