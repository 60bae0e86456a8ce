"""What comes in is doubled, turned round, poisoned, of another shape, or meets another version of its flow."""

from __future__ import annotations

import itertools
import random
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowrun.connector import discover
from flowrun.errors import DeliveryUnknown, InvalidFlow
from flowrun.flow import load_flow
from flowrun.store import Incoming, open_store
from tests.faults.world import NUMBERED
from tests.runner.test_edges import CREATE, Bench

SHAPED = """
flowrun: 1
flow: shaped
source: { connection: from, object: things, record: it, trigger: { poll: { every: 1m, full: true } }, key: it.id }
lookups: { kinds: { table: { a: A, b: B }, on_miss: error } }
map:
  ref: "X-{{ it.id }}"
  amount: { from: it.amount, as: decimal 2 }
  kind: { from: it.kind, lookup: kinds }
  city: { from: it.where.city, as: text }
  lines: { each: line in it.lines, at_least: 1, map: { sku: line.sku } }
target: { connection: to, object: things, action: create, idempotency: { key: "x-{{ it.id }}", find_existing: ref } }
"""
GOOD = {"amount": "1.50", "kind": "a", "where": {"city": "Ulm"}, "lines": [{"sku": "s"}]}
GREEDY = CREATE.replace(
    "amount: it.amount", 'amount: it.amount, note: "{% for n in range(it.times) %}xxxxxxxx{% endfor %}"'
)


@pytest.fixture
def bench(tmp_path: Path, store_place: Path | str) -> Iterator[Bench]:
    made = Bench(tmp_path)
    made.store.close()
    made.store = open_store(store_place, now=made.now)
    for name, words in (
        ("numbered", NUMBERED),
        ("shaped", SHAPED),
        ("greedy", GREEDY.replace("flow: orders", "flow: greedy")),
    ):
        (tmp_path / "flows" / f"{name}.yaml").write_text(words)
    yield made
    made.store.close()


def sent(bench: Bench, name: str = "ref") -> list[str]:
    return [body[name] for call in bench.target.calls for body in call]


# -- doubled and turned round ------------------------------------------------------------------------------------------


def test_five_of_each_in_any_order_over_three_restarts_have_one_effect(bench: Bench, store_place: Path | str) -> None:
    events = [{"id": str(n), "amount": n} for n in range(40)] * 5
    random.Random(28).shuffle(events)
    received = 0
    for start in range(0, 200, 50):
        received += bench.run(*events[start : start + 50]).received
        bench.store.close()
        bench.store = open_store(store_place, now=bench.now)
    assert received == 40 and bench.states() == {"confirmed": 40}
    assert sorted(sent(bench)) == sorted(f"X-{n}" for n in range(40))


@pytest.mark.parametrize("between", [False, True], ids=["all at once", "one by one"])
def test_versions_in_any_order_end_with_the_newest(bench: Bench, between: bool) -> None:
    for number, order in enumerate(itertools.permutations((1, 2, 3))):
        events = [{"id": f"k{number}", "v": v, "lane": f"k{number}", "amount": v} for v in order]
        for part in [[one] for one in events] if between else [events]:
            bench.run(*part, flow="numbered")
        assert bench.target.held[f"k{number}"]["amount"] == 3
        amounts = [body["amount"] for call in bench.target.calls for body in call if body["id"] == f"k{number}"]
        assert amounts == sorted(amounts), "an older one never goes after a newer one"
        if not between:
            assert amounts == [3]
    assert set(bench.states("numbered")) <= {"confirmed", "superseded"}
    assert sum(bench.states("numbered").values()) == 18


def test_without_a_version_the_order_of_arrival_is_kept(bench: Bench) -> None:
    bench.run(*({"id": "1", "amount": amount} for amount in (3, 1, 2)), flow="stock")
    assert [body["amount"] for call in bench.target.calls for body in call] == [3, 1, 2]


# -- poison ------------------------------------------------------------------------------------------------------------


def test_a_record_that_wants_all_time_and_memory_is_a_dead_letter(bench: Bench) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.monotonic()
    bench.run(
        {"id": "1", "amount": 1, "times": 10**9}, {"id": "1", "amount": 2, "times": 1}, {"id": "2", "amount": 1, "times": 2},
        flow="greedy",
    )  # fmt: skip
    assert time.monotonic() - begun < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10
    (dead,) = bench.store.records(state="dead")
    assert (dead.key, dead.error_class, dead.error_field) == ("1", "bad_data", "note"), dead
    assert "budget" in (dead.error_message or ""), dead.error_message
    assert dead.payload["times"] == 10**9 and dead.error_place
    assert sent(bench) == ["X-2"], "its key waits behind it, others go on"
    assert bench.states("greedy") == {"dead": 1, "received": 1, "confirmed": 1}


# -- another shape -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"amount": None}, "amount"), ({"amount": "n/a"}, "amount"), ({"amount": {"value": "1.50"}}, "amount"),
        ({"amount": ["1.50"]}, "amount"), ({"amount": True}, "amount"), ({"amount": ...}, "amount"),
        ({"kind": "c"}, "kind"), ({"kind": None}, "kind"), ({"kind": ["a"]}, "kind"), ({"kind": {"code": "a"}}, "kind"),
        ({"where": "Ulm"}, "city"), ({"where": [{"city": "Ulm"}]}, "city"), ({"where": {"town": "Ulm"}}, "city"),
        ({"where": {"city": {"name": "Ulm"}}}, "city"), ({"where": ...}, "city"),
        ({"lines": {"sku": "s"}}, "lines"), ({"lines": "s"}, "lines"), ({"lines": [{"SKU": "s"}]}, "lines[0].sku"),
        ({"lines": [["s"]]}, "lines[0].sku"), ({"lines": None}, "lines"), ({"lines": ...}, "lines"),
    ],
)  # fmt: skip
def test_another_shape_names_field_and_record_and_is_not_written(
    bench: Bench, changed: dict[str, Any], field: str
) -> None:
    bad = {name: value for name, value in {**GOOD, **changed}.items() if value is not ...}
    bench.run({"id": "1", **GOOD}, {"id": "2", **bad}, {"id": "3", **GOOD}, flow="shaped")
    assert sent(bench) == ["X-1", "X-3"]
    (dead,) = bench.store.records(state="dead")
    assert (dead.key, dead.error_field) == ("2", field), dead.error_message
    assert dead.error_message and dead.error_place and dead.payload == {"id": "2", **bad}


# -- another version of the flow ---------------------------------------------------------------------------------------


def test_a_flow_that_is_changed_while_records_wait(bench: Bench) -> None:
    """What may have arrived is asked for as it was sent; what only waits is mapped by the flow as it is now."""
    lost = [DeliveryUnknown("no answer")] * 4
    bench.target.script = lambda body: lost.pop() if lost else None
    bench.run(*({"id": str(n), "amount": n} for n in range(4)), wait_secs=0)
    bench.store.inbox.add("orders", [_incoming(n) for n in range(4, 300)])
    assert bench.states() == {"in_doubt": 4, "received": 296}
    path = bench.root / "flows" / "orders.yaml"
    path.write_text(CREATE.replace("amount: it.amount", "amount: it.amount, version: { value: 2 }"))
    now = load_flow("orders", bench.project, discover()).hash
    bench.run(wait_secs=3600)
    assert bench.states() == {"confirmed": 300}
    assert sorted(sent(bench)) == sorted(f"X-{n}" for n in range(300)), "each once"
    held = bench.target.held
    assert ["version" in held[f"X-{n}"] for n in (0, 3)] == [False, False]
    assert all(held[f"X-{n}"]["version"] == 2 for n in range(4, 300))
    assert {row.flow_hash for row in bench.store.records(limit=400) if int(row.key) >= 4} == {now}


def test_a_flow_that_is_broken_while_records_wait_sends_nothing(bench: Bench) -> None:
    bench.store.inbox.add("orders", [_incoming(n) for n in range(5)])
    path = bench.root / "flows" / "orders.yaml"
    path.write_text(CREATE.replace("amount: it.amount", "amount: it.amont("))
    with pytest.raises(InvalidFlow):
        bench.run()
    assert bench.target.calls == [] and bench.states() == {"received": 5}
    path.write_text(CREATE)
    bench.run()
    assert bench.states() == {"confirmed": 5}


def _incoming(number: int) -> Incoming:
    return Incoming(str(number), None, str(number), {"id": str(number), "amount": number})
