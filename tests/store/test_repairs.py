"""What the target lost goes out once more: known records come back into their lanes, each once."""

from __future__ import annotations

from typing import Any

from flowrun.connector import Receipt
from flowrun.store import Ending, Incoming, Intent, Row, Store, fingerprint
from flowrun.store.repairs import Again
from flowrun.store.verifying import verify


def delivered(store: Store, *keys: str, version: str | None = "1", object: str = "") -> None:
    """Records that went to the target under the key ``i-KEY``."""
    run = store.begin_run("f", "test", "h")
    store.inbox.add("f", [incoming(key, version) for key in keys], run=run)
    held = store.lanes.claim("f", 100, "w")
    intents = [Intent(row, f"i-{row.key}", {"k": row.key}, fingerprint({"k": row.key}), False, object) for row in held.rows]  # fmt: skip
    store.outcomes.advance(held, [], intents)
    endings = [
        Ending(row, "confirmed", journal="done", intent=f"i-{row.key}", receipt=Receipt(f"T-{row.key}"), how="sent",
               object=object, print_=fingerprint({"k": row.key}))
        for row in held.rows
    ]  # fmt: skip
    store.outcomes.advance(held, endings, settled={row.lane_id for row in held.rows})
    store.lanes.release(held)
    store.end_run(run, {"received": len(keys)})


def incoming(key: str, version: str | None = "1") -> Incoming:
    return Incoming(key, version, key, {"id": key})


def again(key: str, version: str | None = "1", **more: Any) -> Again:
    return Again(incoming(key, version), f"i-{key}", **more)


def waiting(store: Store) -> list[Row]:
    return store.open_records("f", 0, 100)


def put(store: Store, *wanted: Again) -> int:
    run = store.begin_run("f", "test", "h", "repair")
    found = store.repairs.put("f", wanted, run=run, who="tester")
    store.end_run(run, {"received": store.received(run)})
    return found


def test_a_known_record_waits_again_and_its_key_is_in_doubt(store: Store) -> None:
    delivered(store, "a", "b")
    assert put(store, again("a")) == 1
    (row,) = waiting(store)
    assert (row.key, row.state, row.reason) == ("a", "received", "reconcile")
    known = store.outcomes.known("f", ["i-a", "i-b"])
    assert (known["i-a"]["state"], known["i-a"]["seq"]) == ("in_doubt", row.seq)
    assert known["i-b"]["state"] == "done"
    assert verify(store.database) == []


def test_twice_is_once(store: Store) -> None:
    delivered(store, "a", version=None)
    assert put(store, again("a", None)) == 1
    assert put(store, again("a", None)) == 0
    assert len(waiting(store)) == 1


def test_what_no_webhook_brought_is_taken_in_and_what_is_old_is_not(store: Store) -> None:
    delivered(store, "a", version="2")
    assert put(store, again("new"), again("a", "1")) == 2  # the older one is held, as superseded
    assert [row.key for row in waiting(store)] == ["new"]
    assert store.outcomes.known("f", ["i-a"])["i-a"]["state"] == "done"


def test_a_key_with_a_dead_letter_gets_no_second_record(store: Store) -> None:
    delivered(store, "a")
    store.inbox.add("f", [incoming("a", "2")])
    held = store.lanes.claim("f", 100, "w")
    store.outcomes.advance(held, [Ending(held.rows[0], "dead", queue="f")], settled={held.rows[0].lane_id})
    store.lanes.release(held)
    assert store.repairs.standing("f", ["a", "b"]) == {"a": "dead"}
    assert put(store, again("a", "2")) == 0


def test_what_the_target_is_known_to_hold_is_forgotten(store: Store) -> None:
    delivered(store, "a", "b", object="same")
    assert store.was_sent("f", ["same"])
    put(store, again("a", object="same"))
    assert store.was_sent("f", ["same"]) == {}


def test_the_rate_of_what_webhooks_lost(store: Store) -> None:
    store.inbox.add("f", [incoming(f"h{n}") for n in range(19)])  # by events
    for kind, key in (("first", "x"), ("reconcile", "y"), ("poll", "z")):
        run = store.begin_run("f", "test", "h", kind)
        store.inbox.add("f", [incoming(key)], run=run)
    found = store.repairs.losses("f")
    assert (found.brought, found.missed, found.rate) == (19, 1, 0.05)
    assert store.repairs.losses("none").rate == 0.0


def test_the_newest_comparison_of_each_flow_that_ended(store: Store) -> None:
    for flow, missing, ends in (("f", 3, True), ("f", 1, True), ("f", 9, False), ("g", 2, True)):
        run = store.begin_run(flow, "test", "h", "full")
        if ends:
            store.end_run(run, {"missing": missing})
    assert store.repairs.last_full() == [("f", {"missing": 1}), ("g", {"missing": 2})]
    assert store.repairs.made_by("f", ["T-1"]) == {}
