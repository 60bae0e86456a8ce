"""Runs against a scripted target: what follows from failures that real systems show rarely."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flowrun.connector import Cursor, Item, Page, Query, Receipt, Verdict, discover
from flowrun.errors import AuthFailed, DeliveryUnknown, Duplicate, Refused, Unavailable
from flowrun.flow import load_flow
from flowrun.logs import hide
from flowrun.plan import compile_plan
from flowrun.project import load_project
from flowrun.runner import Summary, run_flow
from flowrun.store import Store, open_store
from flowrun.values import Secret

PROJECT = """
flowrun: 1
project: edges
connections:
  from:
    connector: http
    base_url: "http://127.0.0.1:9"
    objects: { things: { read: { path: a, since: after, cursor: at, filters: [id] } } }
  to:
    connector: http
    base_url: "http://127.0.0.1:9"
    objects: { things: { create: { path: a }, update: { path: "a/{id}" }, find: { path: a } } }
environments:
  test: { values: {} }
"""
CREATE = """
flowrun: 1
flow: orders
source: { connection: from, object: things, record: it, trigger: { poll: { every: 1m, full: true } }, key: it.id }
map: { ref: "X-{{ it.id }}", amount: it.amount }
target:
  connection: to
  object: things
  action: create
  idempotency: { key: "x-{{ it.id }}", find_existing: ref }
  save: [{ xref: things, source_id: it.id, target_id: response.id }]
on_error:
  network: { retry: { times: 3, wait: 2s, max_wait: 10s } }
  unknown_outcome: { retry: { times: 2, wait: 2s, max_wait: 10s } }
  auth: { pause: connection }
  duplicate: { finish: success, flag: review }
  other: { dead_letter: orders }
"""
STOCK = """
flowrun: 1
flow: stock
source: { connection: from, object: things, record: it, trigger: { poll: { every: 1m, full: true } }, key: it.id }
map: { id: it.id, amount: it.amount }
target: { connection: to, object: things, action: update, match: id, only_changes: true, batch: 8 }
on_error:
  unknown_outcome: { dead_letter: stock }
  other: { dead_letter: stock }
"""


class Scripted:
    """A target that does what ``script`` says for a body (None: accept), and keeps what it holds by ref or id."""

    def __init__(self) -> None:
        self.held: dict[str, Mapping[str, Any]] = {}
        self.script: Callable[[Mapping[str, Any]], Any] = lambda body: None
        self.ask: Callable[[], None] = lambda: None
        self.calls: list[list[Mapping[str, Any]]] = []
        self.asked = 0
        self.whole = False  # a batch with one bad item fails as a whole

    def find(self, object: str, by: Mapping[str, Any]) -> Sequence[Receipt]:
        self.asked += 1
        self.ask()
        return [Receipt(f"T{ref}", response={"id": f"T{ref}"}) for ref in self.held if ref == by["ref"]]

    def deliver(self, items: Sequence[Item]) -> Sequence[Verdict]:
        self.calls.append([item.body for item in items])
        said = [self.script(item.body) for item in items]
        bad = next((one for one in said if isinstance(one, Refused)), None)
        if self.whole and bad is not None:
            raise bad
        verdicts: list[Verdict] = []
        for item, answer in zip(items, said, strict=True):
            ref = str(item.body.get("ref") or item.body.get("id"))
            if answer is None or isinstance(answer, DeliveryUnknown):
                self.held[ref] = dict(item.body)
            verdicts.append(answer or Receipt(f"T{ref}", True, {"id": f"T{ref}"}))
        return verdicts


class Bench:
    def __init__(self, root: Path) -> None:
        self.root, self.slept = root, 0.0
        (root / "flows").mkdir()
        (root / "flowrun.yaml").write_text(PROJECT)
        for name, words in (("orders", CREATE), ("stock", STOCK)):
            (root / "flows" / f"{name}.yaml").write_text(words)
        self.project = load_project(root)
        self.start = datetime(2026, 5, 4, tzinfo=UTC)
        self.store: Store = open_store(root / "s.db", now=self.now)
        self.target = Scripted()

    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.slept)

    def sleep(self, secs: float) -> None:
        self.slept += secs

    def run(self, *records: Mapping[str, Any], flow: str = "orders", **more: Any) -> Summary:
        checked = load_flow(flow, self.project, discover())
        return run_flow(
            checked, compile_plan(checked, {}), target=self.target,
            **{"store": self.store, "records": list(records), "sleep": self.sleep, "wait_secs": 600, **more},
        )  # fmt: skip

    def states(self, flow: str = "orders") -> dict[str, int]:
        return self.store.counts(flow)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.store.close()


def test_a_change_is_never_confirmed_by_finding_what_was_sent_before(bench: Bench) -> None:
    """v1 arrived, its answer never did; its record is discarded; v2 finds v1's object, which is not v2."""
    bench.target.script = lambda body: DeliveryUnknown("no answer")
    bench.target.ask = lambda: (_ for _ in ()).throw(Unavailable("down"))
    bench.run({"id": "1", "amount": 10}, wait_secs=0)
    (row,) = bench.store.records(flow="orders")
    bench.store.letters.discard([row], "given up", "tester")
    bench.target.script, bench.target.ask = (lambda body: None), (lambda: None)
    bench.run({"id": "1", "amount": 99})
    last = bench.store.records(flow="orders")[-1]
    assert bench.target.held["X-1"]["amount"] == 10
    assert last.flag == "review", f"amount 99 counts as {last.state} while the target holds 10"


def test_a_duplicate_that_finishes_keeps_the_receipt_of_the_first(bench: Bench) -> None:
    bench.run({"id": "1", "amount": 10})
    bench.run({"id": "1", "amount": 11})
    assert bench.store.outcomes.known("orders", ["x-1"])["x-1"]["target_id"] == "TX-1"


def test_a_duplicate_told_by_the_target_still_gives_the_cross_reference(bench: Bench) -> None:
    bench.target.held["X-1"] = {"ref": "X-1"}
    bench.target.script = lambda body: Duplicate("already there")
    bench.run({"id": "1", "amount": 10})
    assert bench.store.xrefs.look_up("things", ["1"]) == {"1": "TX-1"}


def test_a_retry_is_waited_for_though_another_record_stands_behind_it(bench: Bench) -> None:
    failures = [Unavailable("down")]
    bench.target.script = lambda body: failures.pop() if failures else None
    bench.run({"id": "1", "amount": 10}, {"id": "1", "amount": 11})
    assert bench.states() == {"confirmed": 2}


def test_a_retry_is_waited_for_though_another_key_stands_behind_a_dead_letter(bench: Bench) -> None:
    failing: dict[str, list[Any]] = {"X-1": [Refused("no")], "X-2": [Unavailable("down")]}
    bench.target.script = lambda body: failing[body["ref"]].pop() if failing[body["ref"]] else None
    bench.run({"id": "1", "amount": 10}, {"id": "1", "amount": 11}, {"id": "2", "amount": 1})
    assert bench.states() == {"dead": 1, "received": 1, "confirmed": 1}


def test_what_the_target_may_hold_is_sent_again_though_it_was_confirmed_once(bench: Bench) -> None:
    """10 confirmed; 7 written but unanswered and buried; 10 again: the target holds 7, so 10 is a change."""
    bench.run({"id": "1", "amount": 10}, flow="stock")
    bench.target.script = lambda body: DeliveryUnknown("no answer")
    bench.run({"id": "1", "amount": 7}, flow="stock")
    bench.store.letters.discard(bench.store.records(flow="stock", state="dead"), "seen", "tester")
    bench.target.script = lambda body: None
    bench.run({"id": "1", "amount": 10}, flow="stock")
    assert bench.target.held["1"]["amount"] == 10


def test_a_batch_refused_as_a_whole_costs_only_the_bad_record(bench: Bench) -> None:
    bench.target.whole = True
    bench.target.script = lambda body: Refused("bad amount") if body["amount"] == 5 else None
    bench.run(*({"id": str(n), "amount": n} for n in range(1, 9)), flow="stock")
    assert bench.states("stock") == {"confirmed": 7, "dead": 1}


def test_a_refused_password_is_not_tried_once_per_doubtful_record(bench: Bench) -> None:
    bench.target.script = lambda body: DeliveryUnknown("no answer")
    bench.run(*({"id": str(n), "amount": n} for n in range(1, 11)), wait_secs=0)
    assert bench.states() == {"in_doubt": 5, "received": 5}, "the circuit opened before the others were tried"
    bench.target.asked = 0
    bench.target.calls.clear()
    bench.target.script = lambda body: AuthFailed("bad password")
    bench.target.ask = lambda: (_ for _ in ()).throw(AuthFailed("bad password"))
    bench.slept += 3600
    bench.run(wait_secs=0)
    assert bench.target.asked + len(bench.target.calls) == 1
    assert bench.states() == {"in_doubt": 5, "received": 5}


def test_asking_in_vain_ends_too(bench: Bench) -> None:
    bench.target.script = lambda body: DeliveryUnknown("no answer")
    bench.target.ask = lambda: (_ for _ in ()).throw(Unavailable("down"))
    bench.run({"id": "1", "amount": 10}, wait_secs=3600)
    assert bench.states() == {"dead": 1}


def test_a_connector_that_breaks_leaves_the_rest_and_its_own_in_doubt(bench: Bench) -> None:
    def script(body: Mapping[str, Any]) -> Any:
        if body["ref"] == "X-2":
            raise KeyError("a mistake in a connector")

    bench.target.script = script
    bench.run(*({"id": str(n), "amount": n} for n in (1, 2, 3)))
    assert bench.states() == {"confirmed": 2, "dead": 1}


def test_a_cross_reference_that_would_move_is_told(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.store.xrefs.put([("things", "1", "OTHER")], "tester")
    summary = bench.run({"id": "1", "amount": 10})
    assert summary.counts.warnings == 1


def test_groups_beyond_the_limit_are_read_again(bench: Bench) -> None:
    words = STOCK.replace("key: it.id }", "group_by: it.id, key: group.key }").replace(
        "full: true", "cursor: it.at, overlap: 1s"
    )
    words = words.replace("flow: stock", "flow: groups").replace(
        "map: { id: it.id, amount: it.amount }",
        "map: { id: group.key, amount: { calc: \"group.rows | sum('amount')\" } }",
    )
    (bench.root / "flows" / "groups.yaml").write_text(words)

    class Source:
        def read(self, query: Query) -> Iterator[Page]:
            rows = [{"id": str(n), "amount": n, "at": f"2026-05-0{n}T00:00:00Z"} for n in (1, 2, 3)]
            if "id" in query.filter:
                yield Page([r for r in rows if r["id"] in query.filter["id"]])
            else:
                since = query.since.value if query.since else ""
                found = [r for r in rows if r["at"] >= since]
                yield Page(found, Cursor("2026-05-03T00:00:00Z"))

    for limit in (1, None):
        flow = load_flow("groups", load_project(bench.root), discover())
        run_flow(
            flow,
            compile_plan(flow, {}),
            target=bench.target,
            store=bench.store,
            source=Source(),
            sleep=bench.sleep,
            limit=limit,
        )
    assert sorted(bench.target.held) == ["1", "2", "3"]


def test_stopping_a_person_asked_for_does_not_start_delivering(bench: Bench) -> None:
    def records() -> Iterator[Mapping[str, Any]]:
        for n in range(300):
            yield {"id": str(n), "amount": n}
        raise KeyboardInterrupt

    flow = load_flow("orders", bench.project, discover())
    with pytest.raises(KeyboardInterrupt):
        run_flow(
            flow, compile_plan(flow, {}), target=bench.target, store=bench.store, records=records(), sleep=bench.sleep
        )
    assert bench.target.calls == []


def test_several_at_the_target_are_asked_for_again_on_replay(bench: Bench) -> None:
    """A conflict is held; when a person has removed the extra one, replay finds the other and sends nothing."""
    bench.target.script = lambda body: DeliveryUnknown("no answer")
    bench.run({"id": "1", "amount": 10}, wait_secs=0)
    one = bench.target.find
    bench.target.find = lambda object, by: [*one(object, by), Receipt("T9")]  # type: ignore[method-assign]
    bench.slept += 3600
    bench.run()
    (dead,) = bench.store.records(flow="orders", state="dead")
    assert dead.error_class == "conflict"
    bench.target.find = one  # type: ignore[method-assign]
    bench.target.script = lambda body: None
    calls = len(bench.target.calls)
    bench.store.letters.replay([dead], "tester")
    bench.run()
    assert bench.states() == {"confirmed": 1}
    assert len(bench.target.calls) == calls


def test_a_batch_of_twenty_is_one_call(bench: Bench) -> None:
    path = bench.root / "flows" / "stock.yaml"
    path.write_text(STOCK.replace("batch: 8", "batch: 20"))
    bench.run(*({"id": str(n), "amount": n} for n in range(40)), flow="stock")
    assert [len(call) for call in bench.target.calls] == [20, 20]


def test_what_may_have_arrived_is_settled_though_the_flow_now_leaves_it_out(bench: Bench) -> None:
    bench.target.script = lambda body: DeliveryUnknown("no answer")
    bench.run({"id": "1", "amount": 10}, wait_secs=0)
    path = bench.root / "flows" / "orders.yaml"
    path.write_text(CREATE.replace("key: it.id }\nmap", "key: it.id, only_when: it.amount > 50 }\nmap"))
    bench.slept += 3600
    bench.run()
    assert bench.states() == {"confirmed": 1}
    assert bench.store.xrefs.look_up("things", ["1"]) == {"1": "TX-1"}


def test_a_secret_that_the_target_repeats_is_not_kept(bench: Bench) -> None:
    hide(Secret("canary-51c0ffee", "key"))
    bench.target.script = lambda body: Refused("the key canary-51c0ffee may not do this", help="canary-51c0ffee")
    said: list[str] = []
    bench.run({"id": "1", "amount": 10}, report=lambda row, outcome, words: said.append(words))
    assert said
    assert "canary-51c0ffee" not in "".join(said)
    assert b"canary-51c0ffee" not in b"".join(p.read_bytes() for p in bench.root.glob("s.db*"))


def test_a_live_lookup_that_fails_costs_its_own_records(bench: Bench) -> None:
    words = CREATE.replace(
        "map: {",
        "lookups: { names: { connection: to, object: things, find: id, return: name, on_miss: error } }\nmap: { name: { from: it.who, lookup: names, optional: true },",
    )
    project = bench.root / "flowrun.yaml"
    project.write_text(PROJECT.replace("find: { path: a } } }", 'find: { path: a }, get: { path: "a/{id}" } } }'))
    (bench.root / "flows" / "orders.yaml").write_text(words)
    bench.project = load_project(bench.root)
    failures: list[Exception] = [Unavailable("down")]

    class Live:
        def get(self, object: str, key: Mapping[str, Any], expand: Sequence[str] = ()) -> Mapping[str, Any]:
            if key["id"] == "bad":
                raise Refused("no such syntax")
            if failures:
                raise failures.pop()
            return {"name": "N"}

    records = [{"id": "1", "amount": 1, "who": "a"}, {"id": "2", "amount": 2}]
    bench.run(*records, connections={"to": Live()})
    assert bench.states() == {"confirmed": 2}, "waited for and tried again"
    bench.run({"id": "3", "amount": 3, "who": "bad"}, {"id": "4", "amount": 4}, connections={"to": Live()})
    assert bench.states() == {"confirmed": 3, "dead": 1}
