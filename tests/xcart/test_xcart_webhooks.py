"""Webhooks of the compat profile: who sent them, when, and what they say."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import connect_shop

from flowrun.connector import Request, Secret
from flowrun.errors import Refused, SignatureInvalid
from flowrun_connectors.xcart.simulator import WEBHOOK_SECRET, XCartSimulator
from flowrun_connectors.xcart.webhooks import sign, verify

NOW = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)


def signed(body: bytes, *, id_: str = "evt-1", at: datetime = NOW, secret: str = WEBHOOK_SECRET) -> dict[str, str]:
    stamp = str(int(at.timestamp()))
    signature = sign(Secret(secret), id_, stamp, body)
    return {"x-webhook-id": id_, "x-webhook-timestamp": stamp, "x-webhook-signature": signature}


def request(headers: dict[str, str], body: bytes, at: datetime = NOW) -> Request:
    return Request("POST", "/hooks/xcart", headers, {}, body, at)


@pytest.fixture
def receiver(tmp_path: Path) -> Any:
    simulator = XCartSimulator()
    simulator.base_url = "http://127.0.0.1:9"
    return connect_shop(simulator, tmp_path)


def test_the_signature_is_the_one_that_the_sheet_defines() -> None:
    """From elsewhere: printf 1.2.{} | openssl dgst -sha256 -hmac k -binary | base64."""
    assert sign(Secret("k"), "1", "2", b"{}") == "v1,0vr2lR1sQLVj8F1ZrFHv3aWSgFrMt0Vg+vmqrQ6yltg="


BODY = json.dumps(
    {"event": "Order Placed", "orderid": 1042, "customerid": 17, "total_amount": 64.48, "items": []}
).encode()


def test_an_order_placed(receiver: Any) -> None:
    (event,) = receiver.receive(request(signed(BODY), BODY))
    assert (event.name, event.object, event.id, event.thin) == ("order.placed", "orders", "evt-1", True)
    assert event.record == {"order_id": "1042", "customer_id": "17"}
    assert event.name in type(receiver).events


def test_a_guests_order_names_no_customer(receiver: Any) -> None:
    body = json.dumps({"event": "Order Placed", "orderid": "7", "customerid": None}).encode()
    (event,) = receiver.receive(request(signed(body), body))
    assert event.record == {"order_id": "7", "customer_id": None}


def test_a_copy_has_the_same_id(receiver: Any) -> None:
    """So the receiver can drop it."""
    first, second = (receiver.receive(request(signed(BODY), BODY, NOW + timedelta(seconds=n)))[0] for n in (1, 200))
    assert first == second


@pytest.mark.parametrize(
    ("secs", "good"), [(0, True), (299, True), (300, True), (301, False), (-300, True), (-301, False)]
)
def test_the_window_is_five_minutes_both_ways(receiver: Any, secs: int, good: bool) -> None:
    asked = request(signed(BODY), BODY, NOW + timedelta(seconds=secs))
    if good:
        assert receiver.receive(asked)
    else:
        with pytest.raises(SignatureInvalid):
            receiver.receive(asked)


@pytest.mark.parametrize("order", [("old", "new"), ("new", "old")])
def test_while_the_secret_is_rotated_both_hold(tmp_path: Path, order: tuple[str, str]) -> None:
    simulator = XCartSimulator()
    simulator.base_url = "http://127.0.0.1:9"
    connector = connect_shop(simulator, tmp_path, webhook_secret=[Secret(order[0]), order[1]])
    for secret in ("old", "new"):
        assert connector.receive(request(signed(BODY, secret=secret), BODY))
    with pytest.raises(SignatureInvalid):
        connector.receive(request(signed(BODY, secret="other"), BODY))


def test_a_sender_may_sign_twice(receiver: Any) -> None:
    headers = signed(BODY)
    headers["x-webhook-signature"] = (
        f"{signed(BODY, secret='next')['x-webhook-signature']} {headers['x-webhook-signature']}"
    )
    assert receiver.receive(request(headers, BODY))


@pytest.mark.parametrize("secret", [None, "", [], ()])
def test_without_a_secret_nothing_is_believed(tmp_path: Path, secret: Any) -> None:
    simulator = XCartSimulator()
    simulator.base_url = "http://127.0.0.1:9"
    connector = connect_shop(simulator, tmp_path, webhook_secret=secret)
    for forged in ("", WEBHOOK_SECRET):
        with pytest.raises(SignatureInvalid):
            connector.receive(request(signed(BODY, secret=forged), BODY))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bit_of_it_flipped_and_it_is_not_theirs(receiver: Any, data: st.DataObject) -> None:
    headers, body = signed(BODY), BODY
    what = data.draw(st.sampled_from(["body", *headers]))
    target = bytearray(body if what == "body" else headers[what].encode())
    place = data.draw(st.integers(0, len(target) * 8 - 1))
    target[place // 8] ^= 1 << place % 8
    if what == "body":
        body = bytes(target)
    else:
        headers[what] = target.decode("latin-1")
    with pytest.raises(SignatureInvalid):
        receiver.receive(request(headers, body))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.fixed_dictionaries({}, optional={name: st.text(max_size=40) for name in signed(b"")}), body=st.binary(max_size=60)
)  # fmt: skip
def test_whatever_arrives_is_refused_by_name(receiver: Any, values: dict[str, str], body: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        receiver.receive(request(values, body))


@pytest.mark.parametrize(
    "change",
    [
        {"x-webhook-signature": "v1,"},
        {"x-webhook-signature": ""},
        {"x-webhook-signature": "v2," + signed(BODY)["x-webhook-signature"][3:]},
        {"x-webhook-signature": signed(BODY)["x-webhook-signature"][:-4]},
        {"x-webhook-signature": signed(BODY)["x-webhook-signature"] + "A"},
        {"x-webhook-signature": signed(BODY)["x-webhook-signature"].lower()},
        {"x-webhook-signature": " ".join(["v1,x"] * 1000 + [signed(BODY)["x-webhook-signature"]])},
        {"x-webhook-signature": "v1,ü\udcff"},
        {"x-webhook-timestamp": "-1"},
        {"x-webhook-timestamp": "1e9"},
        {"x-webhook-timestamp": "9" * 400},
        {"x-webhook-timestamp": "١٢٣"},
        {"x-webhook-id": ""},
        {"x-webhook-id": "evt-1.1"},
    ],
)
def test_forged_headers(receiver: Any, change: dict[str, str]) -> None:
    with pytest.raises(SignatureInvalid) as caught:
        receiver.receive(request({**signed(BODY), **change}, BODY))
    assert caught.value.message == "the webhook's signature does not hold", "the same words, whatever was wrong"


def test_a_dot_does_not_move_between_the_parts() -> None:
    """id 'a.1' with stamp '2' and id 'a' with stamp '1.2' sign the same text; the second is no stamp."""
    at = datetime.fromtimestamp(2, UTC)
    headers = {
        "x-webhook-id": "a",
        "x-webhook-timestamp": "1.2",
        "x-webhook-signature": sign(Secret("k"), "a.1", "2", b""),
    }
    with pytest.raises(SignatureInvalid):
        verify(request(headers, b""), [Secret("k")], at)


def test_a_body_that_a_proxy_wrote_anew_is_refused(receiver: Any) -> None:
    with pytest.raises(SignatureInvalid):
        receiver.receive(request(signed(BODY), json.dumps(json.loads(BODY), indent=1).encode()))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", ""), (b"not json", ""), (b"[]", ""), (b"\xff\xfe", ""), (b"1" * 5000, ""), (b"[" * 5000, ""),
        (b'{"event":"Order Placed","orderid":1,"orderid":2}', ""), (b'{"event":"Order Placed","orderid":NaN}', ""),
        (b'{"event":"Order Placed"}', "orderid"), (b'{"event":"Order Placed","orderid":true}', "orderid"),
        (b'{"event":"Order Placed","orderid":"1/../2"}', "orderid"), (b'{"event":"Order Placed","orderid":-1}', "orderid"),
        (b'{"event":"Order Placed","orderid":1.5}', "orderid"), (b'{"event":"Order Eaten","orderid":1}', "event"),
        (b'{"orderid":1}', "event"), (b'{"event":["Order Placed"],"orderid":1}', "event"),
    ],
)  # fmt: skip
def test_well_signed_nonsense_is_refused(receiver: Any, body: bytes, field: str) -> None:
    with pytest.raises(Refused) as caught:
        receiver.receive(request(signed(body), body))
    assert caught.value.field == field


def test_no_secret_shows(receiver: Any) -> None:
    shown = repr(receiver.settings) + repr(vars(receiver))
    assert WEBHOOK_SECRET not in shown
    assert "sim-xcart-key" not in shown


# -- the simulated sender ----------------------------------------------------------------------------------------


@pytest.fixture
def hook(receiver: Any) -> Iterator[tuple[str, list[str]]]:
    """An address that answers as the receiver will: 200 for what is theirs, 401 for what is not."""
    ids: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                ids.extend(e.id for e in receiver.receive(request(headers, body, datetime.now(UTC))))
                status = 200
            except SignatureInvalid:
                status = 401
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/hooks/xcart", ids
    server.shutdown()
    server.server_close()
    thread.join()


def test_webhooks_doubled_shuffled_and_forged(hook: tuple[str, list[str]]) -> None:
    url, ids = hook
    shop = XCartSimulator()
    orders = [shop.place_order([("a", "A", 1, "1")]) for _ in range(5)]
    statuses = shop.send_webhooks(url, orders, copies=3, shuffled=True, forged=4, seed=7)
    assert sorted(statuses) == [200] * 15 + [401] * 4
    assert sorted(ids) == sorted(f"evt-placed-{n}" for n in orders for _ in range(3))
    in_order = [f"evt-placed-{n}" for n in orders for _ in range(3)]
    assert ids != in_order
