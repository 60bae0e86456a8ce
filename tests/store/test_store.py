"""The store through its public face: identity, versions, lanes, migrations, one process at a time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from flowrun.connector import Receipt
from flowrun.errors import StoreError
from flowrun.store import Failure, Incoming, Store, open_store
from flowrun.store.rows import newer
from flowrun.store.schema import metadata
from flowrun.values import system_clock


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = open_store(tmp_path / "s.db", now=system_clock)
    yield made
    made.close()


def take(store: Store, key: str, version: str | None, value: int = 0, lane: str | None = None) -> int:
    return store.add("f", [Incoming(key, version, lane or key, {"v": value})])


def test_migrations_make_exactly_the_tables(store: Store) -> None:
    with store.transaction() as tx:
        assert compare_metadata(MigrationContext.configure(tx), metadata) == []


def test_it_is_durable(store: Store) -> None:
    with store.transaction() as tx:
        assert tx.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert tx.execute(text("PRAGMA synchronous")).scalar() == 2  # FULL


def test_the_same_identity_adds_nothing(store: Store) -> None:
    assert [take(store, "1", "1"), take(store, "1", "1", 5), take(store, "1", "2")] == [1, 0, 1]
    assert [
        take(store, "2", None, 1),
        take(store, "2", None, 1),
        take(store, "2", None, 2),
        take(store, "2", None, 1),
    ] == [1, 0, 1, 1]


def test_an_older_version_is_superseded_and_a_newer_one_supersedes(store: Store) -> None:
    take(store, "1", "2")
    take(store, "1", "1")
    take(store, "1", "10")
    states = {row.version: row.state for row in store.records(flow="f")}
    assert states == {"2": "superseded", "1": "superseded", "10": "received"}


def test_one_lane_goes_one_at_a_time_and_others_never_wait(store: Store) -> None:
    take(store, "1", None, 1, lane="a")
    take(store, "2", None, 2, lane="a")
    take(store, "3", None, 3, lane="b")
    assert [row.key for row in store.claim("f", 10)] == ["1", "3"]


def test_a_dead_letter_holds_back_its_key_only(store: Store) -> None:
    take(store, "1", None, 1)
    (row,) = store.claim("f", 10)
    with store.transaction() as tx:
        store.fail(tx, row, Failure("bad_data", "no"), state="dead", queue="q")
    take(store, "1", None, 2)
    take(store, "2", None, 1)
    assert [row.key for row in store.claim("f", 10)] == ["2"]


def test_with_versions_the_newest_goes_ahead_and_the_dead_letter_closes(store: Store) -> None:
    take(store, "1", "1")
    (row,) = store.claim("f", 10)
    with store.transaction() as tx:
        store.fail(tx, row, Failure("bad_data", "no"), state="dead", queue="q")
    take(store, "1", "2")
    (row,) = store.claim("f", 10)
    with store.transaction() as tx:
        store.confirm(tx, row, "k", Receipt("T1"), how="sent", body={})
    assert store.counts("f") == {"confirmed": 1, "superseded": 1}


def test_a_second_process_is_refused_also_after_a_kill(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="in use by another flowrun"):
        open_store(tmp_path / "s.db", now=system_clock)
    code = f"import os; from pathlib import Path; from flowrun.store import open_store; from flowrun.values import system_clock; s = open_store(Path({str(tmp_path / 'k.db')!r}), now=system_clock); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    open_store(tmp_path / "k.db", now=system_clock).close()


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    made = open_store(tmp_path / "s.db", now=system_clock)
    with made.transaction() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    made.close()
    with pytest.raises(StoreError, match="newer flowrun"):
        open_store(tmp_path / "s.db", now=system_clock)


@pytest.mark.parametrize(
    ("version", "than", "wanted"),
    [
        ("10", "9", True),
        ("2026-05-04T10:00:00Z", "2026-05-04T11:30:00+02:00", True),
        ("b", "a", True),
        ("1", "1", False),
    ],
)
def test_versions_compare_as_what_they_are(version: str, than: str, wanted: bool) -> None:
    assert newer(version, than) is wanted


@settings(max_examples=30, deadline=None)
@given(events=st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 4), st.booleans()), max_size=12))
def test_the_newest_accepted_version_wins(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, int, bool]]
) -> None:
    store = open_store(tmp_path_factory.mktemp("m") / "s.db", now=system_clock)
    sent: dict[str, list[int]] = {"a": [], "b": []}
    newest: dict[str, int] = {}
    try:
        for key, version, deliver in events:
            take(store, key, str(version), version)
            newest[key] = max(newest.get(key, 0), version)
            if deliver:
                for row in store.claim("f", 10):
                    sent[row.key].append(int(row.version or 0))
                    with store.transaction() as tx:
                        store.confirm(tx, row, f"{row.key}-{row.version}", Receipt("x"), how="sent", body={})
        for row in store.claim("f", 10):
            sent[row.key].append(int(row.version or 0))
            with store.transaction() as tx:
                store.confirm(tx, row, f"{row.key}-{row.version}", Receipt("x"), how="sent", body={})
        for key, versions in sent.items():
            assert versions == sorted(set(versions)), "in order, each once"
            if key in newest:
                assert versions[-1] == newest[key]
        assert set(store.counts("f")) <= {"confirmed", "superseded"}
    finally:
        store.close()
