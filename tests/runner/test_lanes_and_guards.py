"""Runs that an outage, a guard, several workers or a great many cross-references shape."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.runner.test_edges import STOCK, Bench

from flowrun.connector import Page, Query
from flowrun.errors import GuardStopped, Unavailable
from flowrun.store import open_store

GROUPED = """
flowrun: 1
flow: groups
source: { connection: from, object: things, record: it, trigger: { poll: { every: 1m, full: true } }, group_by: it.sku, key: group.key }
map: { id: group.key, amount: { calc: group.rows | sum('amount') } }
target: { connection: to, object: things, action: update, match: id, only_changes: true }
"""
MANY = """
flowrun: 1
flow: many
source: { connection: from, object: things, record: it, trigger: { poll: { every: 1m, full: true } }, key: it.id }
lookups: { ids: { xref: things, on_miss: error } }
map: { ref: "X-{{ it.id }}", lines: { each: line in it.lines, map: { id: { from: line.id, lookup: ids } } } }
target: { connection: to, object: things, action: create, idempotency: { key: "x-{{ it.id }}", find_existing: ref } }
"""
GUARDED = STOCK.replace("flow: stock", "flow: guarded").replace(
    "batch: 8 }", "batch: 8, guard: { max_changes: 5, max_share: 40% } }"
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    for name, words in (("groups", GROUPED), ("many", MANY), ("guarded", GUARDED)):
        (tmp_path / "flows" / f"{name}.yaml").write_text(words)
    yield made
    made.store.close()


def things(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"id": str(n), "amount": n, **more} for n in range(1, count + 1)]


# -- outage ----------------------------------------------------------------------------------------------------------


def test_an_outage_burns_no_tries_and_one_record_probes(bench: Bench) -> None:
    bench.target.script = lambda body: Unavailable("down")
    bench.run(*things(50), wait_secs=0)
    assert len(bench.target.calls) == 5, "then the circuit is open"
    circuit = bench.store.circuits.of("to")
    assert circuit is not None and circuit.state == "open"
    assert sum(row.attempts for row in bench.store.records(flow="orders")) == 4, "the one that opened it is not burnt"
    bench.slept += 1000
    bench.target.calls.clear()
    bench.run(wait_secs=0)
    assert len(bench.target.calls) == 1, "a single probe"
    bench.slept += 1000
    bench.target.script = lambda body: None
    bench.run(wait_secs=0)
    bench.slept += 1000
    bench.run(wait_secs=0)
    assert bench.states() == {"confirmed": 50}
    assert bench.store.circuits.of("to") is None


def test_an_outage_of_one_target_does_not_hold_up_another(bench: Bench) -> None:
    bench.store.circuits.pause("elsewhere", "no")
    bench.run(*things(3))
    assert bench.states() == {"confirmed": 3}


# -- guard -----------------------------------------------------------------------------------------------------------


def test_a_guard_stops_before_anything_is_sent(bench: Bench) -> None:
    with pytest.raises(GuardStopped, match=r"6 changes are more than max_changes: 5; nothing was sent"):
        bench.run(*things(6), flow="guarded")
    assert bench.target.calls == [] and bench.states("guarded") == {"received": 6}
    bench.run(flow="guarded", override_guard=True)
    assert bench.states("guarded") == {"confirmed": 6}


def test_a_share_is_judged_once_something_was_delivered(bench: Bench) -> None:
    bench.run(*things(5), flow="guarded")
    assert bench.states("guarded") == {"confirmed": 5}, "the first delivery sends all"
    changed = [{**one, "amount": 100} for one in things(3)]
    with pytest.raises(GuardStopped, match=r"3 of 5 \(60%\) are more than max_share: 40%"):
        bench.run(*changed, flow="guarded")
    assert bench.states("guarded") == {"confirmed": 5, "received": 3}


def test_what_is_unchanged_at_the_target_is_no_change_for_the_guard(bench: Bench) -> None:
    bench.run(*things(5), flow="guarded")
    bench.run(*[{**one, "note": "of no interest"} for one in things(5)], flow="guarded")
    assert bench.states("guarded") == {"confirmed": 10}


# -- groups, cross-references, workers -------------------------------------------------------------------------------


class Rows:
    def __init__(self, *rows: dict[str, Any]) -> None:
        self.rows = rows

    def read(self, query: Query) -> Iterator[Page]:
        yield Page(list(self.rows))


def test_a_group_whose_rows_are_all_gone_is_sent_empty_once(bench: Bench) -> None:
    both = Rows({"sku": "a", "amount": 2}, {"sku": "a", "amount": 3}, {"sku": "b", "amount": 4})
    bench.run(flow="groups", records=None, source=both)
    bench.run(flow="groups", records=None, source=Rows({"sku": "b", "amount": 4}))
    bench.run(flow="groups", records=None, source=Rows({"sku": "b", "amount": 4}))
    sent = [(body["id"], body["amount"]) for call in bench.target.calls for body in call]
    assert sent == [("a", 5), ("b", 4), ("a", 0)]


def test_a_reading_that_brings_nothing_empties_nothing(bench: Bench) -> None:
    bench.run(flow="groups", records=None, source=Rows({"sku": "a", "amount": 2}))
    bench.run(flow="groups", records=None, source=Rows())
    assert len(bench.target.calls) == 1


def test_a_record_with_hundreds_of_cross_references_is_mapped(bench: Bench) -> None:
    bench.store.xrefs.put([("things", str(n), f"T{n}") for n in range(400)], "tester")
    bench.run({"id": "1", "lines": [{"id": str(n)} for n in range(400)]}, flow="many")
    assert [line["id"] for line in bench.target.calls[0][0]["lines"]] == [f"T{n}" for n in range(400)]


def test_workers_deliver_beside_each_other_and_keep_the_order_of_each_key(bench: Bench) -> None:
    bench.store.close()
    bench.store = open_store(bench.root / "real.db")  # leases are by a clock that goes on while a worker is busy
    seen: list[tuple[str, int]] = []
    threads: set[int] = set()

    def slow(body: Any) -> None:
        threads.add(threading.get_ident())
        time.sleep(0.002)
        seen.append((body["id"], body["amount"]))

    bench.target.script = slow
    records = [{"id": str(key), "amount": turn} for turn in range(4) for key in range(100)]
    bench.run(*records, flow="stock", workers=3, sleep=time.sleep)
    assert bench.states("stock") == {"confirmed": 400} and len(threads) > 1
    assert len(seen) == 400, "each once"
    for key in range(100):
        assert [amount for id_, amount in seen if id_ == str(key)] == [0, 1, 2, 3]
