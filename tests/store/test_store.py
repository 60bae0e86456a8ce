"""The store through its public face: identity, versions, lanes, migrations, one process at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from flowrun.connector import Receipt
from flowrun.errors import StoreError
from flowrun.store import Ending, Failure, Held, Incoming, Intent, Row, Store, fingerprint, open_store
from flowrun.store.rows import newer
from flowrun.store.schema import metadata
from flowrun.values import system_clock


def take(store: Store, key: str, version: str | None, value: int = 0, lane: str | None = None) -> int:
    return store.inbox.add("f", [Incoming(key, version, lane or key, {"v": value})])


def claim(store: Store, limit: int = 10, flow: str = "f") -> Held:
    return store.lanes.claim(flow, limit, "w")


def end(store: Store, held: Held, row: Row, state: str = "confirmed", **more: Any) -> None:
    """An outcome for one row of a claim; its lane is given back."""
    store.outcomes.advance(held, [Ending(row, state, **more)], settled=[row.lane_id])


DEAD = {"failure": Failure("bad_data", "no"), "queue": "q"}


def test_migrations_make_exactly_the_tables(store: Store) -> None:
    with store.transaction() as tx:
        assert compare_metadata(MigrationContext.configure(tx), metadata) == []


def test_it_is_durable(store: Store) -> None:
    if store.database.shared:
        with store.transaction() as tx:
            assert tx.execute(text("SHOW synchronous_commit")).scalar() == "on"
        return
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


def test_one_lane_goes_in_order_and_others_never_wait(store: Store) -> None:
    take(store, "1", None, 1, lane="a")
    take(store, "2", None, 2, lane="a")
    take(store, "3", None, 3, lane="b")
    held = claim(store)
    assert [(row.key, row.lane) for row in held.rows] == [("1", "a"), ("2", "a"), ("3", "b")]
    assert claim(store).rows == [], "nobody else gets a lane that is held"
    store.lanes.release(held)
    assert [row.key for row in claim(store, 1).rows] == ["1"]


def test_a_lane_is_closed_when_nothing_is_open_in_it(store: Store) -> None:
    take(store, "1", None)
    held = claim(store)
    end(store, held, held.rows[0])
    with store.transaction() as tx:
        assert tx.execute(text("SELECT count(*) FROM lanes")).scalar() == 0
    assert store.lanes.due_in("f") is None


def test_a_record_that_waits_holds_back_its_lane(store: Store) -> None:
    take(store, "1", None, 1)
    take(store, "1", None, 2)
    held = claim(store)
    store.outcomes.advance(held, [Ending(held.rows[0], "received", wait_secs=60.0, failure=Failure("network", "no"))])
    assert claim(store).rows == []
    due = store.lanes.due_in("f")
    assert due is not None and 55 < due <= 60


def test_a_dead_letter_holds_back_its_key_only(store: Store) -> None:
    take(store, "1", None, 1, lane="a")
    held = claim(store)
    end(store, held, held.rows[0], "dead", **DEAD)
    take(store, "1", None, 2, lane="a")
    take(store, "2", None, 1, lane="a")
    held = claim(store)
    assert [row.key for row in held.rows] == ["2"], "another key of the same lane goes on"
    end(store, held, held.rows[0])
    assert claim(store).rows == []
    assert store.lanes.due_in("f") is None and store.lanes.waiting("f") == 1, "it waits for a person, not for a time"
    (dead,) = store.records(state="dead")
    store.letters.replay([dead], "tester")
    assert [row.payload["v"] for row in claim(store).rows] == [1, 2], "both, in their order"


def test_discarding_a_dead_letter_lets_its_key_go_on(store: Store) -> None:
    take(store, "1", None, 1)
    held = claim(store)
    end(store, held, held.rows[0], "dead", **DEAD)
    take(store, "1", None, 2)
    assert claim(store).rows == []
    store.letters.discard(store.records(state="dead"), "given up", "tester")
    assert [row.payload["v"] for row in claim(store).rows] == [2]


def test_with_versions_the_newest_goes_ahead_and_the_dead_letter_closes(store: Store) -> None:
    take(store, "1", "1")
    held = claim(store)
    end(store, held, held.rows[0], "dead", **DEAD)
    take(store, "1", "2")
    held = claim(store)
    end(store, held, held.rows[0])
    assert store.counts("f") == {"confirmed": 1, "superseded": 1}


def test_a_newer_version_overtakes_what_waits_for_a_retry(store: Store) -> None:
    take(store, "1", "1")
    held = claim(store)
    store.outcomes.advance(held, [Ending(held.rows[0], "received", wait_secs=600.0, failure=Failure("network", "no"))])
    take(store, "1", "2")
    assert [row.version for row in claim(store).rows] == ["2"], "it does not wait for the older one's retry"


def test_a_version_that_is_overtaken_while_it_is_held_is_not_sent(store: Store) -> None:
    take(store, "1", "1")
    held = claim(store)
    take(store, "1", "2")
    row = held.rows[0]
    lost = store.outcomes.advance(held, [], [Intent(row, "k", {"a": 1}, fingerprint({"a": 1}))]).lost
    assert lost == {row.seq}
    store.lanes.release(held)
    assert [row.version for row in claim(store).rows] == ["2"]


def test_a_late_worker_is_not_heard(store: Store) -> None:
    take(store, "1", None)
    late = store.lanes.claim("f", 10, "late", lease_secs=0.0)
    next_ = claim(store)
    assert [row.key for row in next_.rows] == ["1"], "its lease has ended"
    lost = store.outcomes.advance(
        late, [Ending(late.rows[0], "skipped", reason="no")], settled=[late.rows[0].lane_id]
    ).lost
    assert lost == {late.rows[0].seq}
    late.fences = {late.rows[0].lane_id: 1}
    assert store.lanes.renew(late) == {next_.rows[0].lane_id} and not late.fences
    end(store, next_, next_.rows[0])
    assert store.counts("f") == {"confirmed": 1}


def test_an_intent_is_in_doubt_until_its_outcome(store: Store) -> None:
    take(store, "1", None)
    held = claim(store)
    (row,) = held.rows
    store.outcomes.advance(held, [], [Intent(row, "k", {"a": 1}, fingerprint({"a": 1}))])
    (now,) = store.records()
    assert (now.state, now.intent, now.body, now.attempts) == ("sent", "k", {"a": 1}, 1)
    store.outcomes.advance(
        held, [Ending(row, "confirmed", journal="done", intent="k", receipt=Receipt("T1", True), how="sent")]
    )
    assert store.outcomes.known("f", ["k"])["k"]["state"] == "done"
    receipt = store.receipt(row.seq)
    assert receipt is not None and (receipt["target_id"], receipt["how"]) == ("T1", "sent")


def test_a_cursor_moves_with_its_records_and_can_be_taken_back(store: Store) -> None:
    assert store.cursors.current("f") is None
    for number in (1, 2):
        store.inbox.add("f", [Incoming(str(number), None, str(number), {})], cursor=f"c{number}")
    assert store.cursors.current("f") == "c2"
    assert store.cursors.undo("f", "anna") == "c1" == store.cursors.current("f")
    store.cursors.set("f", "by hand", "anna")
    assert [one["value"] for one in store.cursors.history("f")] == ["by hand", "c1"]
    assert store.cursors.undo("f", "anna") == "c1" and store.cursors.undo("f", "anna") is None
    with store.transaction() as tx:
        assert tx.execute(text("SELECT action, who FROM audit ORDER BY id")).all() == [
            ("cursor undo", "anna"), ("cursor set", "anna"), ("cursor undo", "anna"), ("cursor undo", "anna"),
        ]  # fmt: skip


def test_a_cross_reference_that_leads_elsewhere_is_told_and_one_can_be_removed(store: Store) -> None:
    assert store.xrefs.put([("orders", "1", "A"), ("orders", "2", "B"), ("other", "1", "Z")], "anna") == []
    (moved,) = store.xrefs.put([("orders", "1", "C"), ("orders", "2", "B")], "anna")
    assert (moved.name, moved.source_id, moved.before, moved.now) == ("orders", "1", "A", "C")
    assert store.xrefs.look_up("orders", ["C", "B", "?"], reverse=True) == {"C": "1", "B": "2"}
    assert store.xrefs.remove("orders", ["1", "9"], "anna") == 1
    assert [(one["name"], one["source_id"], one["target_id"]) for one in store.xrefs.all()] == [
        ("orders", "2", "B"),
        ("other", "1", "Z"),
    ]


def test_what_a_dead_process_held_is_free_at_once_on_sqlite(tmp_path: Path) -> None:
    first = open_store(tmp_path / "s.db")
    take(first, "1", None)
    assert claim(first).rows
    first.close()  # as a killed process would: the lanes were not given back
    again = open_store(tmp_path / "s.db")
    assert [row.key for row in claim(again).rows] == ["1"]
    again.close()


def test_a_store_of_the_first_schema_is_taken_over(tmp_path: Path) -> None:
    """Records that wait, a retry, a dead letter, a receipt and an intent in doubt survive the migration."""
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine

    import flowrun.store

    engine = create_engine(f"sqlite:///{tmp_path / 'old.db'}")
    with engine.begin() as tx:
        config = Config()
        config.set_main_option("script_location", str(Path(flowrun.store.__file__).parent / "migrations"))
        config.attributes["connection"] = tx
        command.upgrade(config, "0001")
        for key, state, intent in (
            ("1", "received", None),
            ("2", "dead", None),
            ("3", "confirmed", "k3"),
            ("4", "sent", "k4"),
        ):
            tx.execute(
                text(
                    "INSERT INTO records (flow, key, fingerprint, lane, state, due, attempts, payload, body, intent, edited, received_at, changed_at) "
                    "VALUES ('f', :key, :print, :key, :state, 5, 1, :payload, :body, :intent, 0, 1, 1)"
                ),
                {
                    "key": key,
                    "print": f"p{key}",
                    "state": state,
                    "payload": b'{"v":0}',
                    "body": b'{"b":1}' if intent else None,
                    "intent": intent,
                },
            )
        for intent, state, seq, target in (("k3", "done", 3, "T3"), ("k4", "in_doubt", 4, None)):
            tx.execute(
                text(
                    "INSERT INTO journal (flow, intent, state, seq, fingerprint, target_id, at) VALUES ('f', :i, :s, :n, 'x', :t, 1)"
                ),
                {"i": intent, "s": state, "n": seq, "t": target},
            )
        tx.execute(text("INSERT INTO receipts (seq, target_id, created, how, at) VALUES (3, 'T3', 1, 'sent', 1)"))
    engine.dispose()
    store = open_store(tmp_path / "old.db")
    try:
        with store.transaction() as tx:
            assert compare_metadata(MigrationContext.configure(tx), metadata) == []
        held = claim(store)
        assert [(row.key, row.state, row.intent, row.body) for row in held.rows] == [
            ("1", "received", None, None),
            ("4", "sent", "k4", {"b": 1}),
        ]
        receipt = store.receipt(3)
        assert receipt is not None and receipt["target_id"] == "T3"
        assert [row.key for row in store.records(state="dead")] == ["2"]
        assert store.inbox.keys("f") == {"1", "2", "3", "4"}
    finally:
        store.close()


def test_a_second_process_is_refused_also_after_a_kill(tmp_path: Path) -> None:
    first = open_store(tmp_path / "s.db")
    with pytest.raises(StoreError, match="in use by another flowrun"):
        open_store(tmp_path / "s.db")
    first.close()
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


def deliver_all(store: Store, sent: dict[str, list[int]]) -> None:
    held = claim(store)
    for row in held.rows:
        sent[row.key].append(int(row.version or 0))
        end(store, held, row)


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
                deliver_all(store, sent)
        deliver_all(store, sent)
        for key, versions in sent.items():
            assert versions == sorted(set(versions)), "in order, each once"
            if key in newest:
                assert versions[-1] == newest[key]
        assert set(store.counts("f")) <= {"confirmed", "superseded"}
    finally:
        store.close()
