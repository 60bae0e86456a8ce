"""Webhook in to sales order confirmed, against the simulated S/4HANA driven by the bare HTTP client. Run with:

    pytest -m benchmark tests/benchmarks/test_end_to_end_ratio.py -s

flowrun serves in a process of its own, with SQLite; both simulated systems stand in this one. The bare client sends the
very requests that flowrun sent (reads of orders and writes of sales orders), with as many threads. Rounds alternate,
medians count. FLOWRUN_BENCH_ORDERS and _ROUNDS change the sizes.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.service.serving import Process, delivered, known_customer, placed, until

pytestmark = pytest.mark.benchmark
ORDERS = int(os.environ.get("FLOWRUN_BENCH_ORDERS", "200"))
ROUNDS = int(os.environ.get("FLOWRUN_BENCH_ROUNDS", "5"))
THREADS = 8  # flowrun's own number


def served(process: Process, shop: Any, erp: Any, numbers: list[int]) -> float:
    """Seconds from the first webhook to the last sales order."""
    sent = shop.webhooks(numbers)
    already = len(erp.orders)
    begun = time.perf_counter()
    for head, body in sent:
        assert process.http.post("/hooks/xcart", content=body, headers=head).status_code == 200
    until(lambda: len(erp.orders) == already + len(numbers), 300)
    return time.perf_counter() - begun


def bare(shop_calls: list[Any], erp_calls: list[Any], shop: Any, erp: Any) -> float:
    """The same requests and nothing else."""
    todo = list(zip(shop_calls, erp_calls, strict=False))
    lock = threading.Lock()

    def work() -> None:
        with (
            httpx.Client(base_url=shop.base_url, trust_env=False) as reads,
            httpx.Client(base_url=erp.base_url, trust_env=False, auth=("SIM_USER", "sim-s4-password")) as writes,
        ):
            root = erp_calls[0].raw_path.rpartition("/")[0] + "/"
            token = writes.get(root, headers={"x-csrf-token": "fetch", "accept": "application/json"})
            mine = {"x-csrf-token": token.headers["x-csrf-token"]}
            while True:
                with lock:
                    if not todo:
                        return
                    read, write = todo.pop()
                key = {"x-auth-token": read.headers["x-auth-token"], "accept": "application/json"}
                assert reads.get(read.raw_path, headers=key).is_success
                head = {name: write.headers[name] for name in ("content-type", "accept")}
                answer = writes.post(write.raw_path, content=write.body, headers={**head, **mine})
                assert answer.is_success, answer.text

    begun = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return time.perf_counter() - begun


def test_webhook_to_sales_order(project: Path, tmp_path: Path, shop: Any, erp: Any) -> None:
    place = tmp_path / "state.db"
    known_customer(place)
    process = Process(project, place, shop, erp, "--log-level", "error", "--workers", str(THREADS))
    ours: list[float] = []
    theirs: list[float] = []
    try:
        for turn in range(ROUNDS + 1):
            numbers = placed(shop, range(turn * ORDERS + 1, (turn + 1) * ORDERS + 1))
            shop.log.clear()
            erp.log.clear()
            secs = served(process, shop, erp, numbers)
            reads = [one for one in shop.log if one.method == "GET" and any(c.isdigit() for c in one.path)]
            writes = [one for one in erp.log if one.method == "POST" and "A_SalesOrder" in one.path]
            alone = bare(reads[:ORDERS], writes, shop, erp)
            if turn:
                ours.append(secs)
                theirs.append(alone)
    finally:
        process.end()
    assert set(delivered(erp)) == set(range(1, (ROUNDS + 1) * ORDERS + 1))
    ratio = statistics.median(a / b for a, b in zip(theirs, ours, strict=True))
    print(
        f"\nwebhook to sales order, {ORDERS} orders: flowrun {ORDERS / statistics.median(ours):,.0f}/s,"
        f" the same requests by the bare client {ORDERS / statistics.median(theirs):,.0f}/s, ratio {ratio:.2f}"
    )
