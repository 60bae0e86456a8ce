"""Killed at every seam and started again: each order stands once at the target.

A child process runs the flow against simulators of this process and ends at once (no clean-up) when it passes the n-th
seam of a name. Another child then runs to the end.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flowrun.store import open_store

CHILD = """
import json, os, sys
from pathlib import Path
from flowrun.connections import build
from flowrun.connector import discover
from flowrun.flow import load_flow
from flowrun.plan import compile_plan
from flowrun.project import load_project
from flowrun.runner import run_flow
from flowrun.store import open_store
from flowrun.values import system_clock

told = json.loads(sys.argv[1])
root = Path(told["root"])
project = load_project(root)
registry = discover()
flow = load_flow("xcart-orders-to-s4", project, registry)
plan = compile_plan(flow, project.environment("test").values)
left = told["count"]

def seam(name):
    global left
    if name == told["seam"]:
        left -= 1
        if left == 0:
            os._exit(9)

place = told["place"] if "://" in told["place"] else Path(told["place"])
store = open_store(place)
store.lanes.lease_secs = 2.0  # on PostgreSQL nobody says that a worker died
source = build(registry["xcart"], "xcart", told["shop"], now=system_clock, root=root)
target = build(registry["s4hana"], "s4", told["erp"], now=system_clock, root=root)
summary = run_flow(flow, plan, source=source, target=target, store=store, seams=seam)
store.close()
print(json.dumps(summary.as_counts()))
"""

ORDERS = 20


def child(
    root: Path, place: Path | str, shop: Any, erp: Any, seam: str, count: int
) -> subprocess.CompletedProcess[str]:
    told = {
        "root": str(root), "place": str(place), "seam": seam, "count": count, "erp": erp.connection_settings(),
        "shop": {**shop.connection_settings(), "profile": "compat", "states": {"184": "CA"}},
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(told)], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("seam", "count"),
    [("taken", 1), ("mapped", 1), ("intended", 1), ("answered", 1), ("answered", 9), ("settled", 2), ("asked", 1)],
)
def test_killed_and_started_again(
    project: Path, store_place: Path | str, shop: Any, erp: Any, seam: str, count: int
) -> None:
    for number in range(1, ORDERS + 1):
        shop.place_order([("ab-1", "Mug", number, "10.00")], order_id=number)
    store = open_store(store_place)
    store.xrefs.put([("customers", "42", "17100001")], "tester")
    store.close()
    if seam == "asked":  # someone must be in doubt first
        assert child(project, store_place, shop, erp, "answered", 2).returncode == 9
    killed = child(project, store_place, shop, erp, seam, count)
    assert killed.returncode == 9, killed.stderr
    again = child(project, store_place, shop, erp, "", 0)
    assert again.returncode == 0, again.stderr
    assert sorted(o["PurchaseOrderByCustomer"] for o in erp.orders) == sorted(f"XC-{n}" for n in range(1, ORDERS + 1))
    asked = json.loads(again.stdout.splitlines()[-1])["asked"]
    assert asked <= 16, "look-ups after a crash are bounded by the sub-batch"
    store = open_store(store_place)
    try:
        assert store.counts("xcart-orders-to-s4") == {"confirmed": ORDERS}
        assert len(store.xrefs.look_up("orders", [str(n) for n in range(1, ORDERS + 1)])) == ORDERS
    finally:
        store.close()
