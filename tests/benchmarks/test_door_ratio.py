"""Signed webhooks answered durably, as a ratio to the same server with no storage behind it. Run with:

    pytest -m benchmark tests/benchmarks/test_door_ratio.py -s

Both servers stand beside each other and are measured in turns, by a client in a process of its own that keeps 16 or 64
connections busy; medians count. Nothing is asserted but that every request was answered 200 and, at the store, is held.
FLOWRUN_BENCH_HOOKS and _ROUNDS change the sizes.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from flowrun.store import open_store
from flowrun.values import Secret
from flowrun_connectors.xcart.webhooks import sign

pytestmark = pytest.mark.benchmark
ROOT = Path(__file__).parents[2]
HOOKS = int(os.environ.get("FLOWRUN_BENCH_HOOKS", "4000"))
ROUNDS = int(os.environ.get("FLOWRUN_BENCH_ROUNDS", "5"))


def requests_of(count: int, begin: int) -> list[bytes]:
    """Each a whole HTTP/1.1 request, signed, about 1 KB of body."""
    found = []
    stamp = str(int(time.time()))
    items = ",".join(f'{{"sku":"ab-{n}","name":"A mug of blue glass","price":"10.00","quantity":2}}' for n in range(12))
    for number in range(begin, begin + count):
        body = b'{"event":"Order Placed","orderid":%d,"customerid":42,"total_amount":"240.00","items":[%b]}' % (
            number, items.encode(),
        )  # fmt: skip
        signature = sign(Secret("bench"), f"e{number}", stamp, body)
        head = (
            f"POST /hooks/xcart HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"X-Webhook-Id: e{number}\r\nX-Webhook-Timestamp: {stamp}\r\nX-Webhook-Signature: {signature}\r\n\r\n"
        )
        found.append(head.encode() + body)
    return found


class Sender(asyncio.Protocol):
    """One connection: the next request when the answer is there."""

    def __init__(self, todo: list[bytes], took: list[float], done: asyncio.Future[None]) -> None:
        self.todo, self.took, self.done = todo, took, done
        self.seen = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        if not self.todo:
            self.transport.close()
            if not self.done.done():
                self.done.set_result(None)
            return
        self.seen = b""
        self.begun = time.perf_counter()
        self.transport.write(self.todo.pop())

    def data_received(self, data: bytes) -> None:
        self.seen += data
        if b"\r\n\r\n" not in self.seen or not self.seen.endswith(b"}"):
            return
        self.took.append(time.perf_counter() - self.begun)
        assert self.seen.startswith(b"HTTP/1.1 200"), self.seen
        self.send()


async def _sent(port: int, clients: int, count: int, begin: int) -> tuple[float, list[float]]:
    loop = asyncio.get_running_loop()
    todo, took = requests_of(count, begin), []
    ends = [loop.create_future() for _ in range(clients)]
    begun = time.perf_counter()
    for end in ends:
        await loop.create_connection(lambda end=end: Sender(todo, took, end), "127.0.0.1", port)
    await asyncio.gather(*ends)
    return time.perf_counter() - begun, took


def send(port: int, clients: int, count: int, begin: int, back: Any) -> None:
    back.put(asyncio.run(_sent(port, clients, count, begin)))


def measured(port: int, clients: int, count: int, begin: int) -> tuple[float, list[float]]:
    """(requests a second, seconds of each), from a process of its own."""
    context = multiprocessing.get_context("spawn")
    back = context.Queue()
    client = context.Process(target=send, args=(port, clients, count, begin, back))
    client.start()
    secs, took = back.get(timeout=300)
    client.join()
    return count / secs, took


def test_signed_webhooks(tmp_path: Path, store_place: Path | str) -> None:
    for name in ("flows", "lookups"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "flowrun.yaml", tmp_path / "flowrun.yaml")
    servers, ports = [], {}
    for kind, place in (("held", str(store_place)), ("nothing", str(tmp_path / "unused.db"))):
        one = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.door_server", kind, str(tmp_path), place],
            stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        servers.append(one)
        assert one.stdout is not None
        ports[kind] = int(one.stdout.readline())
    begin = 1
    try:
        lines = []
        for clients in (16, 64):
            rates: dict[str, list[float]] = {"held": [], "nothing": []}
            slow: list[float] = []
            for turn in range(ROUNDS + 1):
                for kind, port in ports.items():
                    rate, took = measured(port, clients, HOOKS, begin)
                    begin += HOOKS
                    if turn:  # the first one warms up
                        rates[kind].append(rate)
                        if kind == "held":
                            slow.append(statistics.quantiles(took, n=100)[98])
            ratio = statistics.median(a / b for a, b in zip(rates["held"], rates["nothing"], strict=True))
            lines.append(
                f"{clients:3} clients   held {statistics.median(rates['held']):7,.0f}/s"
                f"   no storage {statistics.median(rates['nothing']):7,.0f}/s   ratio {ratio:.2f} (wanted 0.6)"
                f"   p99 {statistics.median(slow) * 1000:.1f} ms (wanted 50)"
            )
        print(f"\nsigned webhooks, {'PostgreSQL' if isinstance(store_place, str) else 'SQLite'}:")
        print("\n".join(f"  {line}" for line in lines))
    finally:
        for one in servers:
            one.terminate()
            one.wait(10)
    store = open_store(store_place)
    assert sum(one["count"] for one in store.events.waiting()) == 2 * (ROUNDS + 1) * HOOKS
    store.close()
