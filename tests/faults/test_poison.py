"""Records and connectors that misbehave cost themselves; the others go on."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from flowrun.connector import Item, Receipt, Verdict
from flowrun.errors import Refused, Unavailable
from flowrun.store import Ending, Failure, Incoming, open_store
from flowrun.store.lanes import LEASE_SECS
from tests.runner.test_edges import CREATE, STOCK, Bench

MANY = 500


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    words = STOCK.replace("flow: stock", "flow: bulk").replace("batch: 8", f"batch: {MANY}")
    words = words.replace("on_error:", "on_error:\n  network: { retry: { times: 3, wait: 2s, max_wait: 10s } }")
    (tmp_path / "flows" / "bulk.yaml").write_text(words)
    yield made
    made.store.close()


def test_the_character_that_no_database_holds_costs_its_record(tmp_path: Path, store_place: Path | str) -> None:
    """U+0000 in what names a record, and in what a target says."""
    bench = Bench(tmp_path)
    bench.store.close()
    bench.store = open_store(store_place)
    words = CREATE.replace("key: it.id }", "key: it.id, version: it.v }").replace("x-{{ it.id }}", "x-{{ it.name }}")
    (tmp_path / "flows" / "orders.yaml").write_text(words)
    bench.target.script = lambda body: Refused("no\0w") if body["amount"] == 5 else Receipt("T\0", True, {"id": "T"})
    good = {"v": 1, "name": "a"}
    try:
        bench.run(
            {"id": "1\0", "amount": 1, **good}, {"id": "2", "amount": 2, "v": "1\0", "name": "b"},
            {"id": "3", "amount": 3, "v": 1, "name": "c\0"}, {"id": "4", "amount": 4, **good},
            {"id": "5", "amount": 5, "v": 1, "name": "e", "note": "n\0"},
        )  # fmt: skip
        rows = {row.payload["amount"]: row for row in bench.store.records(flow="orders")}
        assert {amount: row.state for amount, row in rows.items()} == dict.fromkeys((1, 2, 3, 5), "dead") | {
            4: "confirmed"
        }
        assert {rows[n].error_message for n in (1, 2, 3)} == {"a key cannot hold the character U+0000"}
        assert rows[5].error_message == "no\ufffdw" and rows[5].payload["note"] == "n\0"
        receipt = bench.store.receipt(rows[4].seq)
        assert receipt is not None and receipt["target_id"] == "T\ufffd"
    finally:
        bench.store.close()


def test_the_same_character_in_a_cross_reference(tmp_path: Path, store_place: Path | str) -> None:
    """As the id that is looked up, either way, as what a flow remembers, and as what names an object at the target."""
    bench = Bench(tmp_path)
    bench.store.close()
    bench.store = open_store(store_place)
    refs = (
        "lookups:\n  seen: { xref: seen, on_miss: error }\n  back: { xref: seen, reverse: true, on_miss: { use: none } }\n"
        "map: { who: { from: it.who, lookup: seen }, back: { from: it.back, lookup: back }, "
    )
    words = CREATE.replace("map: { ", refs).replace("source_id: it.id", 'source_id: "{{ it.note }}"')
    (tmp_path / "flows" / "orders.yaml").write_text(words)
    bench.store.xrefs.put([("seen", "a", "A")], "tester")
    good = {"who": "a", "back": "A", "note": "n"}
    try:
        bench.run(
            {"id": "1", "amount": 1, **good, "who": "a\0"}, {"id": "2", "amount": 2, **good, "back": "A\0"},
            {"id": "3", "amount": 3, **good, "note": "n\0"}, {"id": "4", "amount": 4, **good},
        )  # fmt: skip
        states = {row.payload["amount"]: row.state for row in bench.store.records(flow="orders")}
        assert states == {1: "dead", 2: "confirmed", 3: "confirmed", 4: "confirmed"}
        assert [body["back"] for call in bench.target.calls for body in call] == ["none", "a", "a"]
        assert bench.store.xrefs.sizes() == {"seen": 1, "things": 1}
        stock = STOCK.replace("map: { id: it.id", "map: { id: it.name")
        (tmp_path / "flows" / "stock.yaml").write_text(stock)
        bench.run({"id": "1", "name": "a\0", "amount": 1}, {"id": "2", "name": "b", "amount": 2}, flow="stock")
        assert bench.states("stock") == {"dead": 1, "confirmed": 1}
    finally:
        bench.store.close()


def wide(length: int) -> str:
    """Characters of three bytes that no database can press together."""
    chance = random.Random(length)
    return "".join(chr(chance.randint(0x4E00, 0x9FA0)) for _ in range(length))


def test_names_too_long_for_an_index_cost_their_record(tmp_path: Path, store_place: Path | str) -> None:
    """A key, a version, an idempotency key, an id to remember, what names an object at the target."""
    bench = Bench(tmp_path)
    bench.store.close()
    bench.store = open_store(store_place)
    words = CREATE.replace("key: it.id }", "key: it.id, version: it.v }").replace("x-{{ it.id }}", "x-{{ it.name }}")
    (tmp_path / "flows" / "orders.yaml").write_text(words.replace("source_id: it.id", "source_id: it.note"))
    (tmp_path / "flows" / "stock.yaml").write_text(STOCK.replace("map: { id: it.id", "map: { id: it.name"))
    good = {"v": 1, "note": "n"}
    try:
        bench.run(
            {"id": wide(700), "amount": 1, "name": "a", **good}, {"id": "2", "amount": 2, "name": "b", "v": wide(900)},
            {"id": "3", "amount": 3, "name": wide(3000), **good}, {"id": "4", "amount": 4, "name": "d", **good},
            {"id": "5", "amount": 5, "name": "e", "v": 1, "note": wide(3000)}, {"id": "x" * 1001, "amount": 6, **good},
        )  # fmt: skip
        rows = {row.payload["amount"]: row for row in bench.store.records(flow="orders")}
        assert {amount: row.state for amount, row in rows.items()} == dict.fromkeys((1, 2, 3, 6), "dead") | {
            4: "confirmed", 5: "confirmed"
        }  # fmt: skip
        assert {rows[n].error_message for n in (1, 2)} == {"a key is at most 2000 bytes in UTF-8"}
        assert {rows[n].error_message for n in (3, 6)} == {"a key is at most 1000 characters"}
        assert bench.store.xrefs.sizes() == {"things": 1}
        bench.run({"id": "1", "name": wide(3000), "amount": 1}, {"id": "2", "name": "b", "amount": 2}, flow="stock")
        assert bench.states("stock") == {"dead": 1, "confirmed": 1}
    finally:
        bench.store.close()


def things(count: int) -> list[dict[str, Any]]:
    return [{"id": str(n), "amount": n} for n in range(1, count + 1)]


@pytest.mark.parametrize("bad", [137, MANY])
def test_one_bad_record_of_a_batch_is_found_by_halving(bench: Bench, bad: int) -> None:
    bench.target.whole = True
    bench.target.script = lambda body: Refused("bad amount") if body["amount"] == bad else None
    bench.run(*things(MANY), flow="bulk")
    assert bench.states("bulk") == {"confirmed": MANY - 1, "dead": 1}
    assert len(bench.target.calls) <= 1 + 2 * math.ceil(math.log2(MANY))
    assert len(bench.target.held) == MANY - 1


def test_of_a_batch_with_verdicts_only_what_failed_goes_again(bench: Bench) -> None:
    """The target says of each record what became of it: refused, away for a moment, unknown, or taken."""
    bad: dict[int, list[Any]] = {7: [Refused("no")], 70: [Unavailable("busy")], 170: [Unavailable("busy")] * 2}
    bench.target.script = lambda body: bad[body["amount"]].pop() if bad.get(body["amount"]) else None
    bench.run(*things(MANY), flow="bulk")
    assert bench.states("bulk") == {"confirmed": MANY - 1, "dead": 1}
    again = [sorted(body["amount"] for body in call) for call in bench.target.calls[1:]]
    assert len(bench.target.calls[0]) == MANY
    assert sorted(amount for call in again for amount in call) == [70, 170, 170], again
    (dead,) = bench.store.records(state="dead")
    assert dead.key == "7" and dead.error_class == "rejected"


def test_halving_stops_where_the_lease_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call takes half a minute; another worker takes the lanes over; nothing more is sent by this one."""
    for module in ("store.lanes", "writer.writer", "writer.calling"):
        monkeypatch.setattr(f"flowrun.{module}.boot_time", lambda: bench.slept)
    bench.target.whole = True
    late = True

    def slow(body: Any) -> Any:
        nonlocal late
        if late and len(bench.target.calls) == 2:
            late = False
            bench.slept += LEASE_SECS + 1
            held = bench.store.lanes.claim("bulk", 100, "another")
            assert len(held.rows) == 8
        return Refused("no") if body["amount"] == 8 else None

    bench.target.script = slow
    bench.run(*things(8), flow="bulk", wait_secs=0)
    assert len(bench.target.calls) == 2, "the whole batch and its first half"


def test_a_connector_that_breaks_when_asked_costs_its_record_only(bench: Bench) -> None:
    from flowrun.errors import DeliveryUnknown

    lost = [DeliveryUnknown("no answer")]
    bench.target.script = lambda body: lost.pop() if lost else None

    def broken() -> None:
        raise ZeroDivisionError

    bench.target.ask = broken
    bench.run(*things(3))
    assert bench.states() == {"dead": 1, "confirmed": 2}
    (row,) = bench.store.records(state="dead")
    assert "ZeroDivisionError" in (row.error_message or "")


@pytest.mark.parametrize("said", [lambda items: None, lambda items: [], lambda items: ["fine"] * len(items)])
def test_what_is_no_verdict_is_an_unknown_outcome(bench: Bench, said: Callable[[Sequence[Item]], Any]) -> None:
    def deliver(items: Sequence[Item]) -> Sequence[Verdict]:
        answer: Sequence[Verdict] = said(items)
        return answer

    bench.target.deliver = deliver  # type: ignore[method-assign]
    bench.run(*things(2), wait_secs=0)
    assert {row.error_class for row in bench.store.records()} == {"unknown_outcome"}


def test_a_huge_and_a_deep_record_do_not_stop_the_others(bench: Bench) -> None:
    deep: Any = "x"
    for _ in range(200):
        deep = [deep]
    records = [{"id": "1", "amount": "9" * 5_000_000}, {"id": "2", "amount": deep}, {"id": "3", "amount": 1}]
    bench.run(*records)
    assert "X-3" in bench.target.held
    assert sum(bench.states().values()) == 3 and "received" not in bench.states()


def test_a_replayed_older_version_never_goes_after_a_newer_one(store_place: Path | str) -> None:
    """It was replayed while the newer one was under way."""
    store = open_store(store_place)
    try:
        store.inbox.add("f", [Incoming("1", "1", "1", {"v": 1})])
        held = store.lanes.claim("f", 10, "w")
        dead = Ending(held.rows[0], "dead", failure=Failure("bad_data", "no"), queue="q")
        store.outcomes.advance(held, [dead], settled=list(held.fences))
        store.inbox.add("f", [Incoming("1", "2", "1", {"v": 2})])
        held = store.lanes.claim("f", 10, "w")
        store.letters.replay(store.records(state="dead"), "tester")
        store.outcomes.advance(held, [Ending(held.rows[0], "confirmed")], settled=list(held.fences))
        assert store.lanes.claim("f", 10, "w").rows == []
        assert store.counts("f") == {"confirmed": 1, "superseded": 1}
    finally:
        store.close()
