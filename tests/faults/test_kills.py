"""Processes are killed at random times, or frozen, over real sockets: each order stands once at the target.

The full size: FLOWRUN_KILL_ORDERS=10000 FLOWRUN_KILLS=20 pytest -m soak tests/faults/test_kills.py
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from httpcore import HTTP11Connection

from flowrun.connector import Item
from flowrun.egress import sending_while
from flowrun.errors import DeliveryUnknown
from flowrun.testing.faults import Faults
from tests.conftest import connect_erp
from tests.faults.mill import LEASE_SECS, SUB_BATCH, Mill, finished, goes_on, gone, stands_still

MIX = (
    "503:0.04,reset_after:0.04,500_after:0.04,429:0.04,garbage_after:0.03,reset_before:0.03,half_open:0.01;"
    "seed=3;retry_after=1;only=writes"
)


def killed_and_started(project: Path, place: Path | str, erp: Any, shop: Any, orders: int, kills: int) -> None:
    mill = Mill(project, place, erp, shop, orders, 1.0 if isinstance(place, str) else 50.0)
    chance = random.Random(7)
    for _ in range(kills):
        child = mill.start()
        mill.reached(min(orders - 2, len(erp.orders) + chance.randint(1, max(1, orders // (kills + 1)))))
        time.sleep(chance.random() * 0.02)
        gone(child)
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
    mill = Mill(project, place, erp, shop, orders, 200.0, limits={"limits": {"timeout": "1s"}})
    for kill in range(1, kills + 1):
        child = mill.start()
        mill.reached(orders * kill // (kills + 2))
        gone(child)
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
    goes_on(workers[1])
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
        goes_on(frozen)
    assert finished(frozen)["confirmed"] == 0
    mill.all_once()


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
