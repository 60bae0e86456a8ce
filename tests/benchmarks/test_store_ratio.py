"""Ordered durable events from enqueue to done, as a ratio to the bare SQL statements in one run. Run with:

    pytest -m benchmark tests/benchmarks/test_store_ratio.py -s

The engine takes events in, claims, maps, journals each intent before its call and each receipt after it. The bare way
inserts, claims and completes rows of the same payloads in the same batches through the driver alone, with the same
durability; it knows no keys, no journal and no lanes, so it is a bound that nothing can pass. Rounds alternate.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.faults.world import NUMBERED
from tests.runner.test_edges import PROJECT

from flowrun.connector import Item, Receipt, Verdict, discover
from flowrun.flow import load_flow
from flowrun.plan import compile_plan
from flowrun.project import load_project
from flowrun.runner import run_flow
from flowrun.store import open_store

pytestmark = pytest.mark.benchmark
EVENTS, BATCH, ROUNDS = 5_000, 256, 5
FLOW = NUMBERED.replace("match: id }", f"match: id, batch: {BATCH} }}")


class Nothing:
    """A target that takes everything at once."""

    def find(self, object: str, by: Any) -> Sequence[Receipt]:
        return []

    def deliver(self, items: Sequence[Item]) -> Sequence[Verdict]:
        return [Receipt(str(item.body["id"])) for item in items]


def events() -> list[dict[str, Any]]:
    return [{"id": str(n), "v": 1, "lane": str(n), "amount": n, "note": "x" * 200} for n in range(EVENTS)]


def engine(root: Path, place: Path | str) -> float:
    (root / "flows").mkdir()
    (root / "flowrun.yaml").write_text(PROJECT)
    (root / "flows" / "numbered.yaml").write_text(FLOW)
    flow = load_flow("numbered", load_project(root), discover())
    plan = compile_plan(flow, {})
    store = open_store(place)
    try:
        begun = time.perf_counter()
        run_flow(flow, plan, target=Nothing(), store=store, records=events())
        took = time.perf_counter() - begun
        assert store.counts("numbered") == {"confirmed": EVENTS}
    finally:
        store.close()
    return EVENTS / took


TABLE = "CREATE TABLE bare (id {} PRIMARY KEY, state TEXT NOT NULL, due FLOAT, payload {} NOT NULL)"


def bare_sqlite(root: Path, place: Path | str) -> float:
    db = sqlite3.connect(root / "bare.db", isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute(TABLE.format("INTEGER", "BLOB"))
    return bare(db, "?")


def bare_postgres(root: Path, place: Path | str) -> float:
    import psycopg

    db = psycopg.connect(str(place), autocommit=True)
    db.execute(TABLE.format("BIGINT", "BYTEA"))
    return bare(db, "%s")


def bare(db: Any, mark: str) -> float:
    rows = [(n, json.dumps(event).encode()) for n, event in enumerate(events())]
    begun = time.perf_counter()
    cursor = db.cursor()
    for start in range(0, EVENTS, BATCH):
        cursor.execute("BEGIN")
        cursor.executemany(
            f"INSERT INTO bare (id, state, due, payload) VALUES ({mark}, 'waiting', 0, {mark})",
            rows[start : start + BATCH],
        )
        cursor.execute("COMMIT")
    while True:
        cursor.execute("BEGIN")
        cursor.execute(f"SELECT id, payload FROM bare WHERE state = 'waiting' ORDER BY id LIMIT {BATCH}")
        ids = [(found[0],) for found in cursor.fetchall()]
        cursor.executemany(f"UPDATE bare SET state = 'held', due = 1 WHERE id = {mark}", ids)
        cursor.execute("COMMIT")
        if not ids:
            break
        cursor.execute("BEGIN")
        cursor.executemany(f"UPDATE bare SET state = 'done' WHERE id = {mark}", ids)
        cursor.execute("COMMIT")
    took = time.perf_counter() - begun
    db.close()
    return EVENTS / took


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_events_a_second(database: str, postgres: Callable[[], str]) -> None:
    rates: dict[str, list[float]] = {"engine": [], "bare": []}
    for _ in range(ROUNDS):
        for name, way in (("engine", engine), ("bare", bare_sqlite if database == "sqlite" else bare_postgres)):
            root = Path(tempfile.mkdtemp(prefix="flowrun-ratio-"))
            rates[name].append(way(root, root / "s.db" if database == "sqlite" else postgres()))
            shutil.rmtree(root)
    ours, theirs = (statistics.median(rates[name]) for name in ("engine", "bare"))
    print(
        f"\n{database:10}{'events/s':>12}\n  engine  {ours:12,.0f}\n  bare    {theirs:12,.0f}\n  ratio   {ours / theirs:12.2f}"
    )
