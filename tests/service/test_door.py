"""The door, over real sockets and both databases: what is genuine is held before it is answered, nothing else is."""

from __future__ import annotations

import random
import socket
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from flowrun.service import bodies
from flowrun.values import Secret
from flowrun_connectors.xcart.simulator import WEBHOOK_SECRET
from flowrun_connectors.xcart.webhooks import sign
from tests.service.serving import ORDERS, delivered, known_customer, placed, serving, until


def events(serving: Any) -> int:
    from sqlalchemy import text

    with serving.store.transaction() as tx:
        return int(tx.execute(text("SELECT count(*) FROM events")).scalar_one())


def test_a_webhook_becomes_a_sales_order(project: Path, store_place: Path | str, shop: Any, erp: Any) -> None:
    known_customer(store_place)
    placed(shop, [1001])
    with serving(project, store_place, shop, erp) as here:
        until(lambda: here.metric("flowrun_passes_total"))  # reconciliation has looked and found it
        placed(shop, [1002])
        answer = here.hook(*shop.webhook(1002))
        assert (answer.status_code, answer.json()) == (200, {"accepted": 1})
        until(lambda: delivered(erp) == [1001, 1002])
        assert here.http.get("/healthz").json() == {"status": "ok", "troubles": []}


def test_five_times_shuffled_over_three_restarts_is_one(
    project: Path, store_place: Path | str, shop: Any, erp: Any
) -> None:
    known_customer(store_place)
    numbers = placed(shop, range(1, 21))
    sent = shop.webhooks(numbers, copies=5, shuffled=True, seed=3)
    for part in range(4):
        with serving(project, store_place, shop, erp) as here:
            for head, body in sent[part::4]:
                assert here.hook(head, body).status_code == 200
            if part == 3:
                until(lambda: delivered(erp) == numbers)
                assert here.store.events.waiting() == []
                assert events(here) == 20
    assert delivered(erp) == numbers


def test_what_is_altered_is_refused_and_nothing_is_held(project: Path, tmp_path: Path, shop: Any, erp: Any) -> None:
    """Each byte of the body, the time, the id and the signature, one at a time."""
    placed(shop, [1])
    head, body = shop.webhook(1)
    with serving(project, tmp_path / "state.db", shop, erp) as here:
        refused = [here.hook(head, bytes([*body[:n], body[n] ^ 1, *body[n + 1 :]])) for n in range(len(body))]
        for name in ("x-webhook-id", "x-webhook-timestamp", "x-webhook-signature"):
            text = head[name]
            for n, letter in enumerate(text):
                other = "A" if letter != "A" else "B"
                refused.append(here.hook({**head, name: text[:n] + other + text[n + 1 :]}, body))
            refused.append(here.hook({key: value for key, value in head.items() if key != name}, body))
            refused.append(here.hook({**head, name: ""}, body))
            refused.append(here.hook({**head, name: text.encode() + b"\xff"}, body))
        refused.append(here.hook(head, body, connection="nobody"))
        refused.append(here.hook(head, body, connection="s4"))
        assert {answer.status_code for answer in refused} == {401}
        assert len({answer.content for answer in refused}) == 1  # a stranger learns nothing from the answer
        assert events(here) == 0
        assert here.hook(head, body).status_code == 200
        assert events(here) == 1


def test_a_replay_counts_once_and_not_for_long(project: Path, tmp_path: Path, shop: Any, erp: Any) -> None:
    placed(shop, [1])
    head, body = shop.webhook(1)
    clock = [datetime.now(UTC)]
    with serving(project, tmp_path / "state.db", shop, erp, now=lambda: clock[0]) as here:
        assert [here.hook(head, body).status_code for _ in range(3)] == [200, 200, 200]
        clock[0] += timedelta(minutes=6)
        assert here.hook(head, body).status_code == 401
        clock[0] -= timedelta(minutes=12)
        assert here.hook(head, body).status_code == 401
        assert events(here) == 1


def signed(body: bytes, id_: str = "evt-x") -> dict[str, str]:
    stamp = str(int(time.time()))
    return {
        "x-webhook-id": id_, "x-webhook-timestamp": stamp,
        "x-webhook-signature": sign(Secret(WEBHOOK_SECRET), id_, stamp, body),
    }  # fmt: skip


BODIES = {
    "no JSON": b"{",
    "no object": b"[]",
    "an unknown event": b'{"event":"Order Eaten","orderid":1}',
    "no order": b'{"event":"Order Placed"}',
    "a field twice": b'{"event":"Order Placed","orderid":1,"orderid":2}',
    "NaN": b'{"event":"Order Placed","orderid":NaN}',
    "half a character": b'{"event":"Order Placed","orderid":1,"a":"\\ud800"}',
    "no UTF-8": b'{"event":"Order Placed","orderid":1,"a":"\xff"}',
    "deep": b'{"event":"Order Placed","orderid":1,"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "digits": b'{"event":"Order Placed","orderid":' + b"1" * 10_000 + b"}",
}


@pytest.mark.parametrize("name", BODIES)
def test_what_cannot_be_read_is_refused_in_words(project: Path, tmp_path: Path, shop: Any, erp: Any, name: str) -> None:
    body = BODIES[name]
    with serving(project, tmp_path / "state.db", shop, erp) as here:
        answer = here.hook(signed(body), body)
        assert answer.status_code == 400, answer.text
        assert "webhook" in answer.json()["error"]
        assert events(here) == 0


def test_bodies_that_are_too_much(project: Path, tmp_path: Path, shop: Any, erp: Any) -> None:
    def endless() -> Any:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            yield b" " * 65536
        pytest.fail("it reads on and on")

    with serving(project, tmp_path / "state.db", shop, erp) as here:
        big = b" " * 1_000_001
        refused = here.hook(signed(big), big)
        assert (refused.status_code, refused.headers["connection"]) == (413, "close")
        try:
            answer = here.http.post("/hooks/xcart", content=endless())
            assert answer.status_code == 413
        except (httpx.WriteError, httpx.RemoteProtocolError, httpx.ReadError):
            pass  # the door was shut while the sender was still at it
        packed = {**signed(b"x"), "content-encoding": "gzip"}
        assert here.hook(packed, b"x").status_code == 415
        assert here.http.get("/hooks/xcart").status_code in (401, 405)
        assert here.http.get("/healthz", timeout=1).status_code == 200


def said_to(url: str, head: bytes) -> bytes:
    """What is answered to this much of a request and no more."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as one:
        one.sendall(head)
        return one.recv(1000)


def test_a_body_that_is_announced_too_large_or_does_not_come(
    project: Path, tmp_path: Path, shop: Any, erp: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_SECS", 0.3)
    head = b"POST /hooks/xcart HTTP/1.1\r\nHost: x\r\nContent-Length: %s\r\n\r\n"
    with serving(project, tmp_path / "state.db", shop, erp) as here:
        assert said_to(here.url, head % b"1000001").startswith(b"HTTP/1.1 413 ")
        assert said_to(here.url, head % b"100" + b"{").startswith(b"HTTP/1.1 408 ")


def test_a_process_that_is_about_to_end_takes_nothing_more(project: Path, tmp_path: Path, shop: Any, erp: Any) -> None:
    placed(shop, [1])
    with serving(project, tmp_path / "state.db", shop, erp) as here:
        here.service.draining = True
        answer = here.hook(*shop.webhook(1))
        assert answer.status_code == 503 and "about to end" in answer.json()["error"]
        assert here.http.get("/readyz").status_code == 503 and events(here) == 0


def test_five_hundred_slow_senders_hold_up_nobody(project: Path, tmp_path: Path, shop: Any, erp: Any) -> None:
    placed(shop, [1])
    with serving(project, tmp_path / "state.db", shop, erp) as here:

        def slowest() -> float:
            took = []
            for _ in range(5):
                begun = time.monotonic()
                assert here.http.get("/healthz").status_code == 200
                assert here.hook(*shop.webhook(1)).status_code == 200
                took.append(time.monotonic() - begun)
            return max(took)

        alone = slowest()
        host, port = here.url.removeprefix("http://").split(":")
        slow = []
        for _ in range(500):
            one = socket.create_connection((host, int(port)), timeout=5)
            one.sendall(b"POST /hooks/xcart HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            slow.append(one)
        try:
            assert min(slowest() for _ in range(3)) < max(1.0, 5 * alone)  # whatever else the machine does
        finally:
            for one in slow:
                one.close()


def test_more_waiting_than_is_good_turns_senders_away(project: Path, tmp_path: Path, shop: Any, erp: Any) -> None:
    place = tmp_path / "state.db"
    known_customer(place)
    numbers = placed(shop, range(1, 41))
    with serving(project, place, shop, erp, most_waiting=10) as here:
        erp.faults = erp.faults.parse("503:1")
        until(lambda: here.metric("flowrun_passes_total"))
        until(lambda: here.store.waiting(11) > 10)
        time.sleep(2.1)
        answer = here.hook(*shop.webhook(numbers[0]))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "wait" in answer.json()["error"]
        assert events(here) == 0
        assert here.http.get("/readyz").status_code == 503
        assert here.http.get("/healthz").status_code == 200


def test_order_of_arrival_and_versions(project: Path, tmp_path: Path, shop: Any, erp: Any) -> None:
    """Thin events are read back, so the order as it is now is what counts, whichever event came last."""
    place = tmp_path / "state.db"
    known_customer(place)
    numbers = placed(shop, range(1, 11))
    sent = [shop.webhook(n) for n in numbers] + [shop.webhook(n, event="Order Updated") for n in numbers]
    random.Random(5).shuffle(sent)
    with serving(project, place, shop, erp) as here:
        for head, body in sent:
            assert here.hook(head, body).status_code == 200
        until(lambda: delivered(erp) == numbers)
        until(lambda: here.store.counts(ORDERS) == {"confirmed": 10})
