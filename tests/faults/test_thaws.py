"""Processes stand still for longer than their lease and wake up: what others took over they neither send nor settle."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from httpcore import HTTP11Connection

from flowrun.connector import Item, discover
from flowrun.egress import sending_while
from flowrun.errors import DeliveryUnknown
from flowrun.flow import load_flow
from flowrun.plan import compile_plan
from flowrun.project import load_project
from flowrun.runner import run_flow
from flowrun.store import open_store
from tests.conftest import connect_erp
from tests.faults.mill import FLOW, LEASE_SECS, Mill, finished, goes_on, stands_still
from tests.faults.planted import no_end


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


def frozen_at(mill: Mill, seams: Sequence[str], plant: str = "") -> None:
    """One worker stands still at each seam until another one has done everything."""
    frozen = [mill.start(freeze_at=seam, plant=plant) for seam in seams]
    try:
        for one in frozen:
            stands_still(one)
        confirmed = finished(mill.start())["confirmed"]
        mill.all_once()
        sends = mill.sends()
    finally:
        for one in frozen:
            goes_on(one)
    found = [finished(one) for one in frozen]
    assert mill.sends() == sends, "sent after its deadline"
    mill.all_once()
    assert confirmed + sum(one["confirmed"] for one in found) == mill.orders, "two say that they brought it to its end"


def test_frozen_at_seams(project: Path, postgres: Any, erp: Any, shop: Any) -> None:
    frozen_at(Mill(project, postgres(), erp, shop, 100, lease=2.0), ["mapped", "intended", "answered"])


@pytest.mark.soak
def test_twenty_frozen_at_seams(project: Path, postgres: Any, erp: Any, shop: Any) -> None:
    frozen_at(Mill(project, postgres(), erp, shop, 800, lease=10.0), ["mapped", "intended", "answered", "settled"] * 5)


@pytest.mark.parametrize("bug", ["no_fence", "never_late"])
def test_a_bug_that_thaws_is_found(project: Path, postgres: Any, erp: Any, shop: Any, bug: str) -> None:
    mill = Mill(project, postgres(), erp, shop, 20, lease=2.0)
    with pytest.raises(AssertionError, match="sent after its deadline"):
        frozen_at(mill, ["answered"], bug)


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


@pytest.mark.parametrize("bug", [None, no_end])
def test_no_request_of_a_run_leaves_after_its_lease(
    project: Path, erp: Any, shop: Any, monkeypatch: pytest.MonkeyPatch, bug: Any
) -> None:
    """The lease ends when a request is about to be written: after every look at the deadline but the last one."""
    mill, passed, whole = Mill(project, project / "s.db", erp, shop, 3), [0.0], HTTP11Connection._send_request_headers

    def freeze(*args: Any, **more: Any) -> None:
        passed[0] += LEASE_SECS if more["request"].method == b"POST" else 0
        whole(*args, **more)

    monkeypatch.setattr(HTTP11Connection, "_send_request_headers", freeze)
    for module in ("store.lanes", "writer.writer", "writer.calling"):
        monkeypatch.setattr(f"flowrun.{module}.boot_time", lambda: passed[0])
    if bug is not None:
        bug(monkeypatch)
    with closing(open_store(mill.place)) as store:
        store.lanes.lease_secs = LEASE_SECS
        flow = load_flow(FLOW, load_project(project), discover())
        plan = compile_plan(flow, load_project(project).environment("test").values)
        run_flow(flow, plan, target=connect_erp(erp, project), store=store, intake=False, wait_secs=0)
        assert store.counts(FLOW) == ({"in_doubt": 3} if bug is None else {"confirmed": 3})
    assert mill.sends() == (0 if bug is None else 3)
