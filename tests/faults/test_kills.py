"""Processes are killed at random times, or frozen, over real sockets: each order stands once at the target.

The full size: FLOWRUN_KILL_ORDERS=10000 FLOWRUN_KILLS=20 pytest -m soak tests/faults/test_kills.py
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from httpcore import HTTP11Connection
from sqlalchemy import text

from flowrun.connector import Item, Query
from flowrun.egress import sending_while
from flowrun.errors import DeliveryUnknown
from flowrun.store import open_store
from flowrun.store.rows import Incoming
from flowrun.testing.faults import Faults
from tests.conftest import connect_erp, connect_shop

FLOW = "xcart-orders-to-s4"
SUB_BATCH = 16
LEASE_SECS = 4.0
MIX = (
    "503:0.04,reset_after:0.04,500_after:0.04,429:0.04,garbage_after:0.03,reset_before:0.03,half_open:0.01;"
    "seed=3;retry_after=1;only=writes"
)
CHILD = """
import json, os, signal, sys, time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from flowrun.connections import build
from flowrun.connector import discover
from flowrun.flow import load_flow
from flowrun.plan import compile_plan
from flowrun.project import load_project
from flowrun.runner import run_flow
from flowrun.store import open_store, postgres
from flowrun.values import system_clock

told = json.loads(sys.argv[1])
root = Path(told["root"])
project = load_project(root)
flow = load_flow(told["flow"], project, discover())
plan = compile_plan(flow, project.environment("test").values)
start, speed = datetime.fromisoformat(told["start"]), told["speed"]
fast = lambda: start + (datetime.now(UTC) - start) * speed
place = told["place"] if "://" in told["place"] else Path(told["place"])
postgres.IDLE_SECS = 2.0
store = open_store(place, now=fast if speed > 1 else None)
store.lanes.lease_secs = told["lease"] * speed
erp = {**told["erp"], "limits": {"timeout": "1s"}} if told.get("hurry") else told["erp"]
target = build(discover()["s4hana"], "s4", erp, now=system_clock, root=root)
if told["freeze"]:
    from sqlalchemy import event
    @event.listens_for(store.database.engine, "after_cursor_execute")
    def freeze(connection, cursor, statement, *more):  # in the middle of a transaction that holds row locks
        if told["freeze"] and told["freeze"] in statement:
            told["freeze"] = ""
            os.kill(os.getpid(), signal.SIGSTOP)
summary = run_flow(flow, plan, target=target, store=store, intake=False, override_guard=True,
                   wait_secs=told["wait"], sleep=lambda secs: time.sleep(secs / speed))
store.close()
print(json.dumps(summary.as_counts()))
"""


class Mill:
    """Orders in a store, and children that deliver them."""

    def __init__(self, root: Path, place: Path | str, erp: Any, shop: Any, orders: int, speed: float) -> None:
        self.place, self.orders, self.erp = place, orders, erp
        for number in range(1, orders + 1):
            shop.place_order([("ab-1", "Mug", number % 50 + 1, "10.00")], order_id=number)
        self.told = {
            "root": str(root), "place": str(place), "flow": FLOW, "erp": erp.connection_settings(), "speed": speed,
            "start": "2026-05-04T00:00:00+00:00", "lease": LEASE_SECS, "wait": 3600 if speed > 1 else 30,
        }  # fmt: skip
        source = connect_shop(shop, root)
        store = open_store(place)
        store.xrefs.put([("customers", "42", "17100001")], "tester")
        records = [record for page in source.read(Query("orders", None, None)) for record in page.records]
        assert len(records) == orders
        store.inbox.add(FLOW, [Incoming(f"k{n}", None, f"k{n}", record) for n, record in enumerate(records)])
        with store.transaction() as tx:
            tx.execute(text("UPDATE lanes SET due = 0"))  # the children's clock is another one
        store.close()

    def start(self, freeze: str = "") -> subprocess.Popen[str]:
        """freeze: words of a statement after which the child stands still, its transaction open."""
        return subprocess.Popen(
            [sys.executable, "-c", CHILD, json.dumps({**self.told, "freeze": freeze})],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def placed(self) -> list[str]:
        return sorted(order["PurchaseOrderByCustomer"] for order in self.erp.orders)

    def reached(self, count: int, secs: float = 120.0) -> None:
        end = time.monotonic() + secs
        while len(self.erp.orders) < count:
            assert time.monotonic() < end, f"{len(self.erp.orders)} of {count} orders after {secs} s"
            time.sleep(0.01)

    def all_once(self) -> None:
        placed = self.placed()
        assert len(placed) == len(set(placed)) == self.orders
        store = open_store(self.place)
        try:
            assert store.counts(FLOW) == {"confirmed": self.orders}
        finally:
            store.close()


def finished(child: subprocess.Popen[str], secs: float = 120.0) -> dict[str, int]:
    out, err = child.communicate(timeout=secs)
    assert child.returncode == 0, err[-2000:]
    counts: dict[str, int] = json.loads(out.splitlines()[-1])
    return counts


def killed_and_started(project: Path, place: Path | str, erp: Any, shop: Any, orders: int, kills: int) -> None:
    mill = Mill(project, place, erp, shop, orders, 1.0 if isinstance(place, str) else 50.0)
    chance = random.Random(7)
    for _ in range(kills):
        child = mill.start()
        mill.reached(min(orders - 2, len(erp.orders) + chance.randint(1, max(1, orders // (kills + 1)))))
        time.sleep(chance.random() * 0.02)
        child.kill()
        child.communicate()
    counts = finished(mill.start())
    mill.all_once()
    assert counts["asked"] <= kills * SUB_BATCH


def test_killed_at_random_times(project: Path, store_place: Path | str, erp: Any, shop: Any) -> None:
    killed_and_started(project, store_place, erp, shop, 60, 3)


def test_killed_among_lost_answers_and_garbage(project: Path, store_place: Path | str, erp: Any, shop: Any) -> None:
    """Look-ups are for lost answers here, too, so only the orders are counted."""
    among_lost_answers(project, store_place, erp, shop, 60, 2)


def among_lost_answers(project: Path, place: Path | str, erp: Any, shop: Any, orders: int, kills: int) -> None:
    erp.faults = Faults.parse(MIX)
    mill = Mill(project, place, erp, shop, orders, 200.0)
    mill.told["hurry"] = True
    for kill in range(1, kills + 1):
        child = mill.start()
        mill.reached(orders * kill // (kills + 2))
        child.kill()
        child.communicate()
    for _ in range(10):
        if finished(mill.start())["waiting"] == 0:
            break
    mill.all_once()
    assert len(set(erp.faults.hit)) >= 4, erp.faults.hit


ORDERS, KILLS = int(os.environ.get("FLOWRUN_KILL_ORDERS", "10000")), int(os.environ.get("FLOWRUN_KILLS", "20"))


@pytest.mark.soak
def test_killed_at_random_times_for_long(project: Path, store_place: Path | str, erp: Any, shop: Any) -> None:
    killed_and_started(project, store_place, erp, shop, ORDERS, KILLS)


@pytest.mark.soak
def test_killed_among_lost_answers_for_long(project: Path, store_place: Path | str, erp: Any, shop: Any) -> None:
    among_lost_answers(project, store_place, erp, shop, ORDERS // 10, KILLS)


def test_dead_and_frozen_workers_are_replaced(project: Path, postgres: Any, erp: Any, shop: Any) -> None:
    """Of three workers one is killed and replaced, one is frozen beyond its lease and thawed."""
    mill = Mill(project, postgres(), erp, shop, 150, 1.0)
    workers = [mill.start() for _ in range(3)]
    mill.reached(30)
    workers[0].kill()
    os.kill(workers[1].pid, signal.SIGSTOP)
    workers.append(mill.start())
    stopped = time.monotonic()
    mill.reached(150)
    time.sleep(max(0.0, LEASE_SECS + 1 - (time.monotonic() - stopped)))
    os.kill(workers[1].pid, signal.SIGCONT)
    for worker in workers[1:]:
        finished(worker)
    workers[0].communicate()
    mill.all_once()


@pytest.mark.parametrize("statement", ["UPDATE lanes SET due", "INSERT INTO journal"])
def test_a_worker_frozen_inside_a_transaction_holds_nobody_up(
    project: Path, postgres: Any, erp: Any, shop: Any, statement: str
) -> None:
    """Its row locks would live as long as it is frozen: the server ends its session, and the lease does the rest."""
    mill = Mill(project, postgres(), erp, shop, 40, 1.0)
    frozen = mill.start(statement)
    stands_still(frozen)
    try:
        other = mill.start()
        mill.reached(40)
        finished(other)
    finally:
        os.kill(frozen.pid, signal.SIGCONT)
    assert finished(frozen)["confirmed"] == 0
    mill.all_once()


def stands_still(child: subprocess.Popen[str], secs: float = 60.0) -> None:
    end = time.monotonic() + secs
    while " T " not in Path(f"/proc/{child.pid}/stat").read_text():
        assert child.poll() is None and time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("part", ["_send_request_headers", "_send_request_body"])
def test_no_request_leaves_after_the_lease(project: Path, erp: Any, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """Frozen right before the request is written, or between its head and its body."""
    target = connect_erp(erp, project)
    whole, lease = getattr(HTTP11Connection, part), [True]

    def freeze(*args: Any, **more: Any) -> None:
        lease[0] = more["request"].method != b"POST"
        whole(*args, **more)

    monkeypatch.setattr(HTTP11Connection, part, freeze)
    item = Item("A_SalesOrder", "create", {"SoldToParty": "17100001"}, "k", ())
    with sending_while(lambda: lease[0]):
        (said,) = target.deliver([item])
    assert isinstance(said, DeliveryUnknown) and "lease ended" in said.message
    assert {request.method for request in erp.log} == {"GET"}
