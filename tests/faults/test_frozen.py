"""Sessions of a process that froze inside a transaction: what it locked is free again, however it stands still."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

import psycopg
import pytest

from flowrun.errors import StoreGone
from flowrun.store import Incoming, Store, open_store, postgres

LOCK = "UPDATE lanes SET worker = 'frozen' WHERE lane = %s"
Freeze = Callable[[psycopg.Connection[Any]], None]


@pytest.fixture
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    made = open_store(request.getfixturevalue("postgres")())
    made.inbox.add("f", [Incoming(key, None, key, {"id": key}) for key in ("a", "b")])
    monkeypatch.setattr(postgres, "IDLE_SECS", 1.0)  # more than a busy machine keeps a process from going on
    monkeypatch.setattr(postgres, "LOCK_SECS", 3.0)
    monkeypatch.setattr(postgres, "ANSWER_SECS", 8.0)  # the last resort, which is not to be needed
    made.database.engine.dispose()  # sessions from now on have them
    yield made
    made.close()


def after_a_statement(session: psycopg.Connection[Any]) -> None:
    session.execute(LOCK, ["a"])


def after_many(session: psycopg.Connection[Any]) -> None:
    """psycopg sends these as a pipeline, after which PostgreSQL does not count how long the session is idle."""
    session.cursor().executemany(LOCK, [["a"], ["a"]])


def within_a_pipeline(session: psycopg.Connection[Any]) -> None:
    session.pgconn.enter_pipeline_mode()
    for statement in (b"BEGIN", b"UPDATE lanes SET worker = 'frozen' WHERE lane = 'a'"):
        session.pgconn.send_query_params(statement, [])
    session.pgconn.send_flush_request()
    session.pgconn.flush()


def with_an_answer_on_its_way(session: psycopg.Connection[Any]) -> None:
    session.pgconn.send_query_params(
        b"WITH locked AS (UPDATE lanes SET worker = 'frozen' WHERE lane = 'a' RETURNING lane)"
        b" SELECT repeat('x', 100000) FROM locked, generate_series(1, 1000)",
        [],
    )
    session.pgconn.flush()


@contextmanager
def frozen(store: Store, freeze: Freeze) -> Iterator[None]:
    """A session with the limits of ours, of a process that does nothing any more."""
    pooled = store.database.engine.raw_connection()
    session: Any = pooled.driver_connection
    pooled.detach()
    freeze(session)
    end = monotonic() + 30
    with psycopg.connect(store.database.engine.url.set(drivername="postgresql").render_as_string(False)) as other:
        while other.execute("SELECT lane FROM lanes FOR UPDATE SKIP LOCKED").fetchall() != [("b",)]:
            other.rollback()
            assert monotonic() < end, "nothing was locked"
            sleep(0.02)
    yield
    session.close()


ways = pytest.mark.parametrize("way", [after_a_statement, after_many, within_a_pipeline, with_an_answer_on_its_way])


@ways
def test_its_lanes_are_claimed_by_another(store: Store, way: Freeze) -> None:
    end, claimed = monotonic() + 30, set()
    with frozen(store, way):
        while claimed != {"a", "b"}:
            assert monotonic() < end, f"{claimed} was claimed"
            claimed |= {row.lane for row in store.lanes.claim("f", 10, "other").rows}
            sleep(0.05)


@ways
def test_who_waits_for_its_locks_gets_them(store: Store, way: Freeze) -> None:
    """Intake locks the lane of a record; it may be told to try again, once or twice."""
    told: list[str] = []
    with frozen(store, way):
        while len(told) < 3:
            try:
                assert store.inbox.add("f", [Incoming("a", None, "a", {"id": "a", "changed": True})]) == 1
                break
            except StoreGone as gone:
                told.append(gone.message)
    assert len(told) < 3 and all("lock timeout" in words for words in told), told
