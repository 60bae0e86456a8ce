"""Orders in a store, processes that deliver them over real sockets, and what must have come of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from sqlalchemy import text

from flowrun.connector import Query
from flowrun.store import open_store
from flowrun.store.rows import Incoming
from tests.conftest import ROOT, connect_shop

FLOW = "xcart-orders-to-s4"
SUB_BATCH = 16
LEASE_SECS = 4.0


class Mill:
    def __init__(
        self,
        root: Path,
        place: Path | str,
        erp: Any,
        shop: Any,
        orders: int,
        speed: float = 1.0,
        *,
        lanes: int = 0,
        **more: Any,
    ) -> None:
        """lanes: that the orders go in; as many as orders without it. speed: of the clock of the processes. more: lease
        (seconds), wait (seconds), limits (of the connection)."""
        self.place, self.orders, self.erp, self.lanes = place, orders, erp, lanes or orders
        for number in range(1, orders + 1):
            shop.place_order([("ab-1", "Mug", number % 50 + 1, "10.00")], order_id=number)
        self.told = {
            "root": str(root), "place": str(place), "flow": FLOW, "erp": erp.connection_settings(), "speed": speed,
            "start": "2026-05-04T00:00:00+00:00", "lease": LEASE_SECS, "wait": 3600 if speed > 1 else 30,
            "freeze": "", "freeze_at": "", "plant": "", "limits": {}, **more,
        }  # fmt: skip
        source = connect_shop(shop, root)
        store = open_store(place)
        store.xrefs.put([("customers", "42", "17100001")], "tester")
        records = [record for page in source.read(Query("orders", None, None)) for record in page.records]
        records.sort(key=lambda record: int(record["order_id"]))
        assert [int(record["order_id"]) for record in records] == list(range(1, orders + 1))
        store.inbox.add(FLOW, [Incoming(f"k{n}", None, str(n % self.lanes), one) for n, one in enumerate(records, 1)])
        with store.transaction() as tx:
            tx.execute(text("UPDATE lanes SET due = 0"))  # the children's clock is another one
        store.close()

    def start(self, freeze: str = "", **more: Any) -> subprocess.Popen[str]:
        """freeze: words of a statement after which the child stands still, its transaction open. freeze_at: a seam.
        plant: a bug."""
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.worker", json.dumps({**self.told, "freeze": freeze, **more})],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def reached(self, count: int, secs: float = 120.0) -> None:
        end = time.monotonic() + secs
        while len(self.erp.orders) < count:
            assert time.monotonic() < end, f"{len(self.erp.orders)} of {count} orders after {secs} s"
            time.sleep(0.01)

    def looked_up(self) -> list[str]:
        """Filters of the questions after orders that may have arrived."""
        asked = [request for request in self.erp.log if request.method == "GET" and "A_SalesOrder" in request.path]
        return [request.query["$filter"] for request in asked if "$filter" in request.query]

    def sends(self) -> int:
        return sum(request.method == "POST" for request in self.erp.log)

    def all_once(self) -> None:
        """Each order stands once, those of a lane in the order they were taken in, and the store says so."""
        placed = [int(order["PurchaseOrderByCustomer"].removeprefix("XC-")) for order in self.erp.orders]
        assert sorted(placed) == list(range(1, self.orders + 1))
        for lane in range(self.lanes):
            of_lane = [number for number in placed if number % self.lanes == lane]
            assert of_lane == sorted(of_lane)
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


def gone(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate()


def stands_still(child: subprocess.Popen[str], secs: float = 60.0) -> None:
    end = time.monotonic() + secs
    while " T " not in Path(f"/proc/{child.pid}/stat").read_text():
        assert child.poll() is None and time.monotonic() < end
        time.sleep(0.01)


def goes_on(child: subprocess.Popen[str]) -> None:
    os.kill(child.pid, signal.SIGCONT)
