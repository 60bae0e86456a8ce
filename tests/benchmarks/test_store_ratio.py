"""Ordered durable events from enqueue to done against a no-op target, as ratios in one run. Run with:

    pytest -m benchmark tests/benchmarks/test_store_ratio.py -s

The engine takes events in, claims, maps, journals each intent before its call and each receipt after it. It is held
against two bounds (``bare_queue``): its own statements said to the driver alone, and the least queue in bare SQL; both
with the same batches, commits, payloads and durability. Rounds alternate, medians count. Nothing is asserted but that
every event is done: other work on the machine moves all figures.

FLOWRUN_BENCH_EVENTS, _ROUNDS, _BLOCKED, _LONG and _IDLE_SECS change the sizes.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.benchmarks import bare_queue
from tests.faults.world import NUMBERED
from tests.runner.test_edges import PROJECT

from flowrun.connector import Item, Receipt, Verdict, discover
from flowrun.flow import load_flow
from flowrun.logs import configure
from flowrun.plan import compile_plan
from flowrun.project import load_project
from flowrun.runner import run_flow
from flowrun.store import Ending, Failure, Incoming, Store, open_store
from flowrun.store.cover import Cover
from flowrun.store.seal import Seal
from flowrun.values import Secret

pytestmark = pytest.mark.benchmark
BATCH = 256  # what is taken in, claimed and sent together
EVENTS = int(os.environ.get("FLOWRUN_BENCH_EVENTS", "5000"))
ROUNDS = int(os.environ.get("FLOWRUN_BENCH_ROUNDS", "5"))
BLOCKED = int(os.environ.get("FLOWRUN_BENCH_BLOCKED", "50000"))
LONG = int(os.environ.get("FLOWRUN_BENCH_LONG", "200000"))
IDLE_SECS = float(os.environ.get("FLOWRUN_BENCH_IDLE_SECS", "20"))


class Nothing:
    """A target that takes everything at once."""

    def find(self, object: str, by: Any) -> Sequence[Receipt]:
        return []

    def deliver(self, items: Sequence[Item]) -> Sequence[Verdict]:
        return [Receipt(str(item.body["id"])) for item in items]


class Engine:
    """The numbered flow over a store, with a target that takes whole batches."""

    def __init__(self, root: Path, store: Store) -> None:
        configure(level="warning")  # as ``flowrun run`` does by default
        (root / "flows").mkdir(exist_ok=True)
        (root / "flowrun.yaml").write_text(PROJECT)
        (root / "flows" / "numbered.yaml").write_text(NUMBERED.replace("match: id }", f"match: id, batch: {BATCH} }}"))
        self.flow = load_flow("numbered", load_project(root), discover())
        self.plan = compile_plan(self.flow, {})
        self.store = store

    def run(self, records: Sequence[Mapping[str, Any]] | None, **more: Any) -> float:
        """Seconds."""
        begun = time.perf_counter()
        run_flow(
            self.flow, self.plan, target=Nothing(), store=self.store, records=records, intake=records is not None,
            **more,
        )  # fmt: skip
        return time.perf_counter() - begun

    def confirmed(self) -> int:
        return self.store.counts("numbered").get("confirmed", 0)


def events(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"id": str(n), "v": 1, "lane": str(n), "amount": n, "note": "x" * 200} for n in range(first, first + count)]


@contextmanager
def engine(place: Path | str, cover: Cover | None = None) -> Iterator[Engine]:
    root = Path(tempfile.mkdtemp(prefix="flowrun-ratio-"))
    store = open_store(place, cover=cover)
    try:
        yield Engine(root, store)
    finally:
        store.close()
        shutil.rmtree(root)


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Path | str]:
    """Gives the place of a new, empty store each time it is called."""
    if request.param == "postgres":
        make: Callable[[], str] = request.getfixturevalue("postgres")
        return make
    count = iter(range(1_000_000))
    return lambda: tmp_path / f"{next(count)}.db"


both = pytest.mark.parametrize("place", ["sqlite", "postgres"], indirect=True)
on_postgres = pytest.mark.parametrize("place", ["postgres"], indirect=True)


def show(title: str, rates: Mapping[str, Sequence[float]], against: str = "") -> None:
    """Medians of events a second; how many times the first is of each other one (or of ``against``)."""
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(f"\n{title:44}{'events/s':>10}{'ratio':>8}")
    first = next(iter(medians.values()))
    for name, rate in medians.items():
        ratio = rate / medians[against] if against else first / rate
        print(f"  {name:42}{rate:10,.0f}{ratio:8.2f}")


@both
def test_events_a_second(place: Callable[[], Path | str], request: pytest.FixtureRequest) -> None:
    rates: dict[str, list[float]] = {"engine": [], "its own statements, bare": [], "the least ordered queue, bare": []}
    for _ in range(ROUNDS):
        with engine(place()) as ours:
            records = events(EVENTS)
            rates["engine"].append(EVENTS / ours.run(records))
            assert ours.confirmed() == EVENTS
        with engine(place()) as ours, bare_queue.recorded() as said:
            ours.run(records)
        rates["its own statements, bare"].append(EVENTS / bare_queue.repeat(place(), said))
        rates["the least ordered queue, bare"].append(EVENTS / bare_queue.queue(place(), records, BATCH))
    show(f"{request.node.callspec.id}: enqueue to done", rates)


@both
def test_encrypted(place: Callable[[], Path | str], request: pytest.FixtureRequest) -> None:
    """The same with every payload, body and answer encrypted."""
    rates: dict[str, list[float]] = {"payloads encrypted": [], "payloads open": []}
    cover = Cover(lambda: Seal(Secret("A" * 43 + "=")), encrypts=True)
    for _ in range(ROUNDS):
        for (_, found), how in zip(rates.items(), (cover, None), strict=True):
            with engine(place(), how) as ours:
                found.append(EVENTS / ours.run(events(EVENTS)))
                assert ours.confirmed() == EVENTS
    show(f"{request.node.callspec.id}: at rest", rates, against="payloads open")


@both
def test_keys_that_an_outage_blocks(place: Callable[[], Path | str], request: pytest.FixtureRequest) -> None:
    """They wait for their retry in the same flow; live keys come and go beside them."""
    rates: dict[str, list[float]] = {f"{BLOCKED:,} keys blocked": [], "none blocked": []}
    with engine(place()) as blocked, engine(place()) as free:
        first = 10_000_000
        for start in range(0, BLOCKED, BATCH):
            part = events(min(BATCH, BLOCKED - start), first + start)
            blocked.store.inbox.add("numbered", [Incoming(one["id"], "1", one["lane"], one) for one in part])
            held = blocked.store.lanes.claim("numbered", BATCH, "outage")
            down = Failure("network", "no answer")
            blocked.store.outcomes.advance(
                held, [Ending(row, "received", failure=down, wait_secs=36_000.0) for row in held.rows]
            )
        for turn in range(ROUNDS):
            for (_, found), one in zip(rates.items(), (blocked, free), strict=True):
                found.append(EVENTS / one.run(events(EVENTS, turn * EVENTS), wait_secs=0.0))
        assert blocked.confirmed() == free.confirmed() == EVENTS * ROUNDS
    show(f"{request.node.callspec.id}: live keys", rates, against="none blocked")


@on_postgres
def test_dead_rows(place: Callable[[], Path | str]) -> None:
    """Nobody vacuums in between but the server itself."""
    part = LONG // 10
    with engine(place()) as ours:
        rates = {
            f"events {start + 1:,} to {start + part:,}": [part / ours.run(events(part, start))]
            for start in range(0, LONG, part)
        }
        assert ours.confirmed() == LONG
    show("postgres: many events", rates, against=next(iter(rates)))


@on_postgres
def test_two_processes(place: Callable[[], Path | str]) -> None:
    """What is taken in already is delivered by one process, or by two; from the first to the last outcome."""
    rates: dict[str, list[float]] = {"two processes": [], "one process": []}
    spawn = multiprocessing.get_context("spawn")
    for _ in range(ROUNDS):
        for (_, found), count in zip(rates.items(), (2, 1), strict=True):
            where = str(place())
            with engine(where) as ours:
                ours.store.inbox.add(
                    "numbered", [Incoming(one["id"], "1", one["lane"], one) for one in events(EVENTS * 2)]
                )
                start, spans = spawn.Barrier(count), spawn.Queue()
                workers = [spawn.Process(target=_deliver, args=(where, start, spans)) for _ in range(count)]
                for worker in workers:
                    worker.start()
                ended = [spans.get(timeout=300) for _ in workers]
                for worker in workers:
                    worker.join()
                assert ours.confirmed() == EVENTS * 2
            found.append(EVENTS * 2 / (max(end for _, end in ended) - min(begin for begin, _ in ended)))
    show("postgres: delivery", rates, against="one process")


def _deliver(where: str, start: Any, spans: Any) -> None:
    with engine(where) as ours:
        settled = []
        start.wait()
        begun = time.time()
        ours.run(None, seams=lambda name: settled.append(time.time()) if name == "settled" else None)
        spans.put((begun, max(settled, default=begun)))


@both
def test_a_process_that_waits(place: Callable[[], Path | str], request: pytest.FixtureRequest) -> None:
    spawn = multiprocessing.get_context("spawn")
    said = spawn.Queue()
    worker = spawn.Process(target=_wait, args=(place(), said))
    worker.start()
    cpu, megabytes = said.get(timeout=IDLE_SECS + 120)
    worker.join()
    print(f"\n{request.node.callspec.id}: waits {IDLE_SECS:g} s with {cpu:.2f} % CPU and {megabytes:.0f} MB at most")


def _wait(where: Path | str, said: Any) -> None:
    """For lanes that are due later, and for one that another worker holds, so that there is a look each second."""
    with engine(where) as ours:
        store = ours.store
        store.inbox.add("numbered", [Incoming(one["id"], "1", one["lane"], one) for one in events(BATCH)])
        held = store.lanes.claim("numbered", BATCH, "another", 3600.0)
        store.outcomes.advance(held, [Ending(row, "received", wait_secs=3600.0) for row in held.rows[1:]])
        before = resource.getrusage(resource.RUSAGE_SELF)
        took = ours.run(None, wait_secs=IDLE_SECS)
        after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    said.put((100 * cpu / took, after.ru_maxrss / 1024))
