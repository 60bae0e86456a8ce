"""An operator's tools on both databases: the invariant and damage to it, backup, retention, erasure."""

from __future__ import annotations

import json
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from flowrun.connector import Receipt
from flowrun.errors import StoreError
from flowrun.store import Ending, Failure, Incoming, Intent, Store, fingerprint, open_store
from flowrun.store import backup as module
from flowrun.store import schema as t
from flowrun.store.backup import backup, restore
from flowrun.store.forgetting import forget, holding
from flowrun.store.pruning import prune
from flowrun.store.reading import read_store
from flowrun.store.verifying import CHECKS, verify

CANARY = "ann.canary@example.com"
LATER = 4_000_000_000.0


def fill(store: Store, flow: str = "f") -> None:
    """A run whose records ended in every way: 1 confirmed, 2 dead, 3 skipped, 4 superseded by 4, 5 waits, 6 in doubt."""
    run = store.begin_run(flow, "test", "hash")
    found = [
        Incoming(key, version, key, {"id": key, "email": CANARY, "n": number})
        for number, (key, version) in enumerate(
            [("1", None), ("2", None), ("3", None), ("4", "1"), ("4", "2"), ("5", None), ("6", None)]
        )
    ]
    store.inbox.add(flow, found, cursor="2026-05-04T10:00:00Z", run=run)
    held = store.lanes.claim(flow, 10, "w")
    rows = {row.key: row for row in held.rows}
    body = {"email": CANARY}
    intents = [Intent(rows[key], f"i{key}", body, fingerprint(body)) for key in ("1", "2", "4", "6")]
    store.outcomes.advance(held, [], intents, flow_hash="hash")
    receipt = Receipt("T1", True, response={"mail": CANARY})
    endings = [
        Ending(rows["1"], "confirmed", journal="done", intent="i1", receipt=receipt, how="sent", xrefs=[("x", "1", "T1")]),
        Ending(
            rows["2"], "dead", failure=Failure("rejected", f"{CANARY} is unknown", "email"), queue="q",
            journal="forget", intent="i2", event="dead", detail={"message": f"{CANARY} is unknown"},
        ),
        Ending(rows["3"], "skipped", reason="only_when"),
        Ending(rows["4"], "confirmed", journal="done", intent="i4", receipt=Receipt("T4", True), how="sent"),
        Ending(rows["6"], "in_doubt", wait_secs=60.0, failure=Failure("unknown_outcome", "no answer")),
    ]  # fmt: skip
    store.outcomes.advance(held, endings, settled=[row.lane_id for row in rows.values() if row.key in "1234"])
    store.lanes.release(held)
    store.end_run(run, {"read": 7, "received": 7})


def names(store: Store) -> list[str]:
    return [one.name for one in verify(store.database)]


def sql(store: Store, *statements: str) -> None:
    with store.transaction() as tx:
        for one in statements:
            tx.execute(text(one))


def table(store: Store, name: str) -> list[dict[str, Any]]:
    with store.transaction() as tx:
        chosen = t.metadata.tables[name]
        found = tx.execute(chosen.select().order_by(*chosen.primary_key.columns)).mappings()
        return [dict(row) for row in found]


# -- verify ------------------------------------------------------------------------------------------------------------


def test_a_store_in_use_is_whole(store: Store, store_place: Path | str) -> None:
    assert names(store) == []
    fill(store)
    assert names(store) == []
    assert store.counts("f") == {
        "confirmed": 2, "dead": 1, "skipped": 1, "superseded": 1, "received": 1, "in_doubt": 1,
    }  # fmt: skip
    held = read_store(store_place)
    assert verify(held.database) == [], "beside whoever writes"
    held.close()


DAMAGE: list[tuple[str, bool, list[str]]] = [
    ("state", False, ["UPDATE records SET state = 'lost' WHERE key = '3'"]),
    ("steps", True, ["INSERT INTO steps (seq, path, kind, state, at) VALUES (999, 'a', 'read', 'done', 0)"]),
    ("stuck", True, ["DELETE FROM lanes WHERE lane = '5'"]),
    ("parked", True, ["UPDATE lanes SET due = NULL WHERE lane = '5'"]),
    ("receipt", False, ["DELETE FROM journal WHERE intent = 'i1'"]),
    ("intent", False, ["DELETE FROM journal WHERE intent = 'i6'"]),
    ("order", False, ["UPDATE records SET key = '5' WHERE key = '1'",
                      "UPDATE records SET seq = 90 WHERE state = 'confirmed' AND key = '5'",
                      "UPDATE journal SET seq = 90 WHERE intent = 'i1'"]),
    ("head", True, ["DELETE FROM heads WHERE key = '4'"]),
    ("journal", False, ["UPDATE journal SET seq = 999 WHERE intent = 'i6'",
                        "UPDATE records SET state = 'received' WHERE key = '6'"]),
    ("history", True, ["UPDATE history SET seq = 999"]),
    ("sum", False, ["DELETE FROM records WHERE key = '3'"]),
]  # fmt: skip


def test_every_check_has_damage() -> None:
    assert {name for name, _, _ in DAMAGE} == {check.name for check in CHECKS} | {"sum"}


@pytest.mark.parametrize(("name", "mends", "statements"), DAMAGE, ids=[name for name, _, _ in DAMAGE])
def test_damage_is_found_and_mended_where_it_can_be(
    store: Store, name: str, mends: bool, statements: list[str]
) -> None:
    fill(store)
    sql(store, *statements)
    (found,) = verify(store.database)
    assert (found.name, found.count, found.mended) == (name, 1, False)
    assert found.examples and found.next
    (mended,) = verify(store.database, mend="tester")
    assert mended.mended is mends
    assert names(store) == ([] if mends else [name])
    audits = [row for row in table(store, "audit") if row["action"] == "state mend"]
    assert [row["detail"] for row in audits] == ([f"{name}: 1"] if mends else [])


def test_what_was_stuck_is_delivered_after_mending(store: Store) -> None:
    fill(store)
    sql(store, "DELETE FROM lanes WHERE lane = '5'")
    assert store.lanes.claim("f", 10, "w", only=["5"]).rows == []
    verify(store.database, mend="tester")
    assert [row.key for row in store.lanes.claim("f", 10, "w", only=["5"]).rows] == ["5"]


def test_a_remembered_key_adds_nothing_again(store: Store) -> None:
    fill(store)
    sql(store, "DELETE FROM heads")
    verify(store.database, mend="tester")
    again = Incoming("1", None, "1", {"id": "1", "email": CANARY, "n": 0})
    assert store.inbox.add("f", [again, Incoming("4", "2", "4", {"id": "4", "n": 4})]) == 0


def test_a_damaged_file_is_found(tmp_path: Path) -> None:
    place = tmp_path / "state.db"
    store = open_store(place)
    for number in range(40):
        fill(store, f"f{number}")
    store.close()
    data = bytearray(place.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096] = b"\x05" * 4096
    place.write_bytes(bytes(data))
    held = read_store(place)
    try:
        found = verify(held.database)
        assert found[0].name == "file" and "restore" in found[0].next
    except StoreError as error:
        assert "malformed" in error.message
    finally:
        held.close()


# -- backup ------------------------------------------------------------------------------------------------------------


def test_a_backup_of_either_goes_into_either(
    store: Store, store_place: Path | str, tmp_path: Path, postgres: Callable[[], str]
) -> None:
    fill(store)
    file = tmp_path / "kept.backup"
    held = read_store(store_place)
    counts = backup(held.database, file)
    held.close()
    assert counts["records"] == 7
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(one.name for one in tmp_path.iterdir() if "kept" in one.name) == ["kept.backup"]
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT count(*) FROM records").fetchone() == (7,)
    with pytest.raises(StoreError, match="exists already"):
        backup(store.database, file)
    before = {name: table(store, name) for name in t.metadata.tables}
    for place in (tmp_path / "other.db", postgres()):
        other = open_store(place)
        restore(file, other.database)
        assert {name: table(other, name) for name in t.metadata.tables} == before
        assert names(other) == []
        assert other.inbox.add("f", [Incoming("7", None, "7", {"id": "7"})]) == 1, (
            "numbers go on behind what was copied"
        )
        assert other.inbox.add("f", [Incoming("1", None, "1", {"id": "1", "email": CANARY, "n": 0})]) == 0
        with pytest.raises(StoreError, match="not empty"):
            restore(file, other.database)
        other.close()


def test_a_backup_is_of_one_moment_while_others_write(store: Store, store_place: Path | str, tmp_path: Path) -> None:
    fill(store)
    held = read_store(store_place)
    copy = module._copy

    def copied(source: Any, target: Any) -> dict[str, int]:
        source.execute(text("SELECT count(*) FROM records")).all()
        fill(store, "g")
        return copy(source, target)

    module._copy = copied
    try:
        counts = backup(held.database, tmp_path / "b")
    finally:
        module._copy = copy
        held.close()
    assert counts["records"] == 7
    other = open_store(tmp_path / "o.db")
    restore(tmp_path / "b", other.database)
    assert names(other) == []
    other.close()


def test_no_backup_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("hello")
    store = open_store(tmp_path / "state.db")
    with pytest.raises(StoreError, match="no backup"):
        restore(tmp_path / "x", store.database)
    store.close()


def test_held_lanes_are_free_after_a_restore(store: Store, tmp_path: Path) -> None:
    fill(store)
    assert store.lanes.claim("f", 10, "gone", only=["5"]).rows
    backup(store.database, tmp_path / "b")
    other = open_store(tmp_path / "o.db")
    restore(tmp_path / "b", other.database)
    assert [row.key for row in other.lanes.claim("f", 10, "w", only=["5"]).rows] == ["5"]
    other.close()


# -- retention ---------------------------------------------------------------------------------------------------------


def test_what_ended_long_ago_goes_and_duplicates_stay_known(store: Store) -> None:
    fill(store)
    assert not any(prune(store.database, before=0.0, who="tester").values())
    assert prune(store.database, before=LATER, who="tester", dry_run=True) == {"records": 4}
    gone = prune(store.database, before=LATER, who="tester")
    assert gone["records"] == 4
    assert store.counts("f") == {"dead": 1, "in_doubt": 1, "received": 1}
    assert names(store) == []
    again = [Incoming("1", None, "1", {"id": "1", "email": CANARY, "n": 0}), Incoming("4", "2", "4", {"id": "4"})]
    assert store.inbox.add("f", again) == 0
    assert store.outcomes.known("f", ["i1"])["i1"]["target_id"] == "T1", "the key is known, so nothing is created twice"
    assert store.xrefs.look_up("x", ["1"]) == {"1": "T1"}
    assert store.cursors.current("f") == "2026-05-04T10:00:00Z"
    assert CANARY not in str([row["body"] for row in table(store, "journal") if row["state"] == "done"])


def test_flagged_records_and_other_flows_stay(store: Store) -> None:
    fill(store, "f")
    fill(store, "g")
    sql(store, "UPDATE records SET flag = 'review' WHERE flow = 'f' AND key = '1'")
    prune(store.database, before=LATER, flow="f", who="tester")
    assert store.counts("f")["confirmed"] == 1
    assert store.counts("g")["confirmed"] == 2
    assert names(store) == []


def test_a_run_without_records_goes_and_old_cursors(store: Store) -> None:
    run = store.begin_run("f", "test", "h")
    store.inbox.add("f", [], cursor="1", run=run)
    store.inbox.add("f", [], cursor="2", run=run)
    store.end_run(run, {})
    gone = prune(store.database, before=LATER, who="tester")
    assert (gone["runs"], gone["cursors"]) == (1, 1)
    assert store.cursors.current("f") == "2"


# -- erasure -----------------------------------------------------------------------------------------------------------


def everything(store: Store, place: Path | str) -> bytes:
    """All that stands in the database: the bytes of the file and its log, or all rows."""
    if isinstance(place, Path):
        return b"".join(one.read_bytes() for one in place.parent.iterdir() if one.name.startswith(place.name))
    return repr({name: table(store, name) for name in t.metadata.tables}).encode()


def test_erased_is_erased(store: Store, store_place: Path | str) -> None:
    fill(store)
    store.letters.edit(store.records(state="dead")[0], {"email": f"x{CANARY}"}, "tester")
    assert CANARY.encode() in everything(store, store_place)
    for row in store.records(state="dead"):
        store.letters.discard([row], "given up", "tester")
    rows = holding(store.database, CANARY)
    assert {row.key for row in rows} == {"1", "2", "3", "4", "5", "6"}
    held = store.lanes.claim("f", 10, "w")
    ended = [Ending(row, "skipped", reason="gone") for row in held.rows]
    store.outcomes.advance(held, ended, settled=[row.lane_id for row in held.rows])
    sql(store, "UPDATE records SET state = 'discarded' WHERE key = '6'", "DELETE FROM lanes")
    forget(store.database, holding(store.database, CANARY), reason="request 7", who="tester")
    assert CANARY.encode() not in everything(store, store_place)
    assert holding(store.database, CANARY) == []
    assert names(store) == [], "sums and outcomes are what they were"
    assert sum(store.counts("f").values()) == 7
    again = Incoming("1", None, "1", {"id": "1", "email": CANARY, "n": 0})
    assert store.inbox.add("f", [again]) == 0, "the same record is still known"
    assert store.receipt(1) is not None
    said = [row["detail"] for row in table(store, "audit") if row["action"] == "state forget"]
    assert said == ["7 records of f: request 7"]


def test_only_what_was_asked_for_is_erased(store: Store) -> None:
    fill(store)
    row = next(row for row in store.records() if row.key == "3")
    forget(store.database, [row], reason="r", who="tester")
    assert {row.key for row in store.records() if row.payload == {"forgotten": True}} == {"3"}


def test_words_are_looked_for_as_they_are(store: Store) -> None:
    store.inbox.add(
        "f", [Incoming("1", None, "1", {"a": "100% of it_"}), Incoming("2", None, "2", {"a": "100 of its"})]
    )
    assert [row.key for row in holding(store.database, "100% of it_")] == ["1"]


def test_alerts_that_quote_it_are_cleaned(store: Store) -> None:
    fill(store)
    with store.transaction() as tx:
        tx.execute(
            t.alerts.insert().values(
                channel="c", flow="f", connection="", kind="rejected", closed=0, state="open", lasting=1, count=1,
                message=f"{CANARY} is unknown", place="", examples=json.dumps([["f", "o", "1"]]), first_at=1.0, last_at=1.0,
                opened_at=1.0, told=0, told_count=0, next_notice_at=1.0, level=0,
            )
        )  # fmt: skip
    forget(store.database, store.records(key="1"), reason="r", who="tester")
    assert [row["message"] for row in table(store, "alerts")] == ["(forgotten) is unknown"]
