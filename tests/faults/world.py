"""A store, two workers, a target that answers as it is told, and a clock that is moved by hand.

``numbered`` sends versions of things by their id (a repeat is harmless, an older one after a newer one is not);
``orders`` creates (a second object is the failure). What must hold is looked at after each step.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import text

from flowrun.connector import Item, Receipt, Verdict, discover
from flowrun.errors import DeliveryUnknown, RateLimited, Refused, Unavailable
from flowrun.flow import load_flow
from flowrun.plan import compile_plan
from flowrun.project import load_project
from flowrun.runner.intake import Intake
from flowrun.runner.run import Drain
from flowrun.store import open_store
from flowrun.writer import Writer
from tests.runner.test_edges import CREATE, PROJECT

NUMBERED = """
flowrun: 1
flow: numbered
source:
  connection: from
  object: things
  record: it
  trigger: { poll: { every: 1m, full: true } }
  key: it.id
  version: it.v
  keep_order_by: it.lane
map: { id: it.id, v: it.v, amount: it.amount }
target: { connection: to, object: things, action: update, match: id }
on_error:
  network: { retry: { times: 3, wait: 2s, max_wait: 10s } }
  rate_limited: { retry: { times: 3, wait: 2s, max_wait: 10s } }
  unknown_outcome: { retry: { times: 2, wait: 2s, max_wait: 10s } }
  other: { dead_letter: numbered }
"""
ANSWERS = ("accept", "refuse", "lost_before", "lost_after", "unavailable", "429")
SEAMS = ("mapped", "intended", "answered", "settled")
FLOWS = ("numbered", "orders")


class Broken(AssertionError):
    """What must never happen did."""


class Killed(BaseException):
    """The process is gone: nothing it does from here on reaches the database."""


class Target:
    def __init__(self, world: World) -> None:
        self.world = world
        self.things: dict[str, int] = {}
        """id → amount, as the last update left it"""
        self.orders: list[tuple[str, int]] = []
        """(ref, amount) of each object that was created"""
        self.tried: set[int] = set()
        self.answers: list[str] = []

    def find(self, object: str, by: Mapping[str, Any]) -> Sequence[Receipt]:
        return [Receipt(f"T{ref}", response={"id": f"T{ref}"}) for ref, _ in self.orders if ref == by["ref"]]

    def deliver(self, items: Sequence[Item]) -> Sequence[Verdict]:
        return [self._one(item) for item in items]

    def _one(self, item: Item) -> Verdict:
        amount = int(item.body["amount"])
        if amount in self.world.confirmed():
            self.world.broken.append(f"amount {amount} is known as done and was sent again")
        self.tried.add(amount)
        answer = self.answers.pop(0) if self.answers else "accept"
        if answer in ("accept", "lost_after"):
            if item.action == "update":
                self.things[str(item.body["id"])] = amount
            else:
                self.orders.append((str(item.body["ref"]), amount))
        name = str(item.body.get("ref") or item.body["id"])
        return {
            "accept": Receipt(f"T{name}", True, {"id": f"T{name}"}),
            "refuse": Refused("no"),
            "unavailable": Unavailable("down"),
            "429": RateLimited("slow down", retry_after_secs=3),
        }.get(answer, DeliveryUnknown("no answer"))


class World:
    def __init__(self, root: Path, place: Path | str) -> None:
        (root / "flows").mkdir()
        (root / "flowrun.yaml").write_text(PROJECT)
        (root / "flows" / "numbered.yaml").write_text(NUMBERED)
        (root / "flows" / "orders.yaml").write_text(CREATE)
        project = load_project(root)
        self.flows = {name: load_flow(name, project, discover()) for name in FLOWS}
        self.plans = {name: compile_plan(flow, {}) for name, flow in self.flows.items()}
        self.place = place
        self.passed = 0.0
        self.taken = 0
        self.amounts = 0
        self.newest: dict[str, int] = {}
        """key → its newest version that was taken in"""
        self.payloads: dict[int, dict[str, Any]] = {}
        """amount → record"""
        self.begun: set[int] = set()
        """amounts that were about to be sent once, or that a person replayed"""
        self.broken: list[str] = []
        """what the target noticed; the writer takes what is raised there for a broken connector"""
        self.target = Target(self)
        self._open()

    def now(self) -> datetime:
        return datetime(2026, 5, 4, tzinfo=UTC) + timedelta(seconds=self.passed)

    def boot_time(self) -> float:
        return self.passed

    def sleep(self, secs: float) -> None:
        self.passed += secs

    def _open(self) -> None:
        self.store = open_store(self.place, now=self.now)

    # -- what happens ----------------------------------------------------------------------------------------------

    def event(self, flow: str, key: str, version: int, lane: str) -> None:
        """orders: each key once; numbered: any version of any key."""
        self.amounts += 1
        record: dict[str, Any] = {"id": key, "amount": self.amounts}
        if flow == "numbered":
            record |= {"v": version, "lane": lane}
        else:
            record["id"] = f"{key}-{self.amounts}"
        taking = Intake(self.flows[flow], self.plans[flow], self.store, 0, lambda name: None)
        taking.hold([record], None)
        self.taken += taking.received
        if taking.received:
            self.payloads[self.amounts] = record
            if flow == "numbered":
                self.newest[key] = max(self.newest.get(key, 0), version)

    def drain(self, flow: str, seams: Callable[[str], None] = lambda name: None, wait_secs: float = 60.0) -> None:
        def passing(name: str) -> None:
            if name == "intended" and flow == "numbered":
                self._look_at_intents()
            seams(name)

        writer = Writer(
            self.flows[flow], self.plans[flow], self.target, self.store, chance=random.Random(1), seams=passing
        )
        worker = Drain(self.flows[flow], self.plans[flow], self.store, writer, {}, self.sleep)
        worker.run(self.store.time() + wait_secs)

    def _look_at_intents(self) -> None:
        """What was overtaken before its first try is not sent at all."""
        for row in self.store.records(flow="numbered", state="sent", limit=100_000):
            amount = int(row.payload["amount"])
            if amount not in self.begun and int(row.version or 0) < self.newest[row.key]:
                self.broken.append(f"version {row.version} is sent, though {self.newest[row.key]} was there before")
            self.begun.add(amount)

    def deliver(self, answers: Sequence[str], wait_secs: float = 60.0) -> None:
        self.target.answers = list(answers)
        for flow in FLOWS:
            self.store.circuits.insist("to")
            self.drain(flow, wait_secs=wait_secs)
        self.target.answers = []

    def kill(self, flow: str, seam: str, after: int, answers: Sequence[str]) -> None:
        """Deliver, and be gone at the n-th passing of a seam; start again."""
        left = after
        database = self.store.database

        def gone() -> Any:
            raise Killed

        def passing(name: str) -> None:
            nonlocal left
            left -= name == seam
            if left == 0 and name == seam:
                database.transaction = gone  # type: ignore[method-assign]
                raise Killed

        self.target.answers = list(answers)
        self.store.circuits.insist("to")
        with suppress(Killed):
            self.drain(flow, passing)
        self.target.answers = []
        self.store.close()
        self._open()
        self.passed += 200 if self.store.database.shared else 0  # nobody tells a server's store that a worker died

    def freeze(self, flow: str, seam: str, event: tuple[str, int, str] | None, answers: Sequence[str] = ()) -> None:
        """A worker stands still at a seam for longer than its lease; another one does the work, or with answers tries
        it once; then it wakes."""
        left = 1

        def passing(name: str) -> None:
            nonlocal left
            if name != seam or not left:
                return
            left = 0
            self.passed += 200
            if event is not None:
                self.event(flow, *event)
            self.target.answers = list(answers)
            self.drain(flow, wait_secs=0.0 if answers else 60.0)
            self.target.answers = []

        self.store.circuits.insist("to")
        self.drain(flow, passing)

    def person(self, what: str) -> None:
        """Edits, replays or discards the oldest dead letter."""
        dead = self.store.records(state="dead")
        if not dead:
            return
        row = dead[0]
        amount = int(row.payload["amount"])
        if what == "edit":
            self.store.letters.edit(row, {**row.payload, "note": "seen"}, "tester")
        if what != "discard":
            self.begun.add(amount)
            self.store.letters.replay([row], "tester")
        elif not any(amount in pair for pair in (self.target.things.values(), [a for _, a in self.target.orders])):
            self.store.letters.discard([row], "given up", "tester")

    # -- what must hold --------------------------------------------------------------------------------------------

    def confirmed(self) -> set[int]:
        """Amounts whose record is known as done."""
        return {int(row.payload["amount"]) for row in self.store.records(state="confirmed", limit=100_000)}

    def check(self) -> None:
        """Each record stands in one state; what is open has a lane that will come up; nothing exists twice."""
        if self.broken:
            raise Broken("; ".join(self.broken))
        states = {flow: self.store.counts(flow) for flow in FLOWS}
        if sum(sum(one.values()) for one in states.values()) != self.taken:
            raise Broken(f"{self.taken} were taken in, and {states} are there")
        with self.store.transaction() as tx:
            stuck = tx.execute(
                text(
                    "SELECT count(*) FROM records r WHERE r.state IN ('received','sent','in_doubt') AND NOT EXISTS "
                    "(SELECT 1 FROM lanes l WHERE l.flow = r.flow AND l.lane = r.lane)"
                )
            ).scalar()
        if stuck:
            raise Broken(f"{stuck} open records are in no lane")
        refs = [ref for ref, _ in self.target.orders]
        if len(refs) != len(set(refs)):
            raise Broken(f"an order was created twice: {refs}")
        missing = self.confirmed() - {amount for _, amount in self.target.orders} - self.target.tried
        if missing:
            raise Broken(f"{missing} are confirmed and never reached the target")

    def finish(self) -> None:
        """Everything is answered and replayed; the target holds the newest version of each key. Where a person gave that
        one up, it holds what was confirmed before: older versions that came later stay superseded."""
        for _ in range(20):
            dead = self.store.records(state="dead", limit=100_000)
            self.begun |= {int(row.payload["amount"]) for row in dead}
            self.store.letters.replay(dead, "tester")
            self.passed += 1000
            self.deliver([])
            if not any(self.store.lanes.waiting(flow) for flow in FLOWS):
                break
        else:
            raise Broken(f"something is stuck: {[self.store.counts(flow) for flow in FLOWS]}")
        self.check()
        rows = self.store.records(flow="numbered", limit=100_000)
        given_up: dict[str, int] = {}
        for row in rows:
            if row.state == "discarded":
                given_up[row.key] = max(given_up.get(row.key, 0), int(row.version or 0))
        wanted: dict[str, tuple[int, int]] = {}
        for row in rows:
            version = int(row.version or 0)
            if row.state == "confirmed" or (row.state == "superseded" and version > given_up.get(row.key, 0)):
                wanted[row.key] = max(wanted.get(row.key, (0, 0)), (version, int(row.payload["amount"])))
        have = {key: amount for key, (_, amount) in wanted.items() if self.target.things.get(key) != amount}
        if have:
            raise Broken(f"the target holds {self.target.things}, not {have}")
        made = {amount for _, amount in self.target.orders}
        orders = {int(row.payload["amount"]) for row in self.store.records(flow="orders", state="confirmed")}
        if made != orders:
            raise Broken(f"orders {made ^ orders} are not the same on both sides")
