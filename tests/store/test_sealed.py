"""Payloads encrypted at rest, on both databases: nothing of them in any file, bound to their rows, keys that change
while others work."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import LargeBinary, Text, text
from tests.store.test_state import CANARY, fill

from flowrun.errors import ProjectError, StoreError
from flowrun.store import Ending, Failure, Incoming, StepRow, Store, open_store
from flowrun.store import schema as t
from flowrun.store import sealing as module
from flowrun.store.alert_rows import Incident, Route
from flowrun.store.backup import backup, restore
from flowrun.store.cover import MARK, Cover
from flowrun.store.database import open_database
from flowrun.store.events import Arrival
from flowrun.store.forgetting import forget, holding, sweep
from flowrun.store.reading import read_store
from flowrun.store.seal import Seal
from flowrun.store.sealing import PLACES, put_over, rewrite
from flowrun.store.tracing import Tracing
from flowrun.store.verifying import verify
from flowrun.values import Secret

OLD, NEW, OTHER = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2, 3))


def covered(*keys: str, encrypts: bool = True) -> Cover:
    return Cover(lambda: Seal(Secret(" ".join(keys))), encrypts=encrypts)


@pytest.fixture
def sealed(store_place: Path | str) -> Iterator[Store]:
    made = open_store(store_place, cover=covered(OLD))
    yield made
    made.close()


def fill_all(store: Store) -> None:
    """Every place that holds values: also a corrected dead letter, an alert that is told, a dead letter with its body."""
    fill(store)
    letter = store.records(state="dead")[0]
    store.letters.edit(letter, {**letter.payload, "more": CANARY}, "tester")
    with store.transaction() as tx:
        store.alerts.note(tx, [Incident("it", "rejected", f"{CANARY} is unknown", flow="f", key="2")])
    store.alerts.due({"it": Route()})
    store.events.accept([Arrival("shop", "e1", "order.placed", "orders", thin={"email": CANARY})])
    store.inbox.add("f", [Incoming("7", None, "7", {"email": CANARY})])
    held = store.lanes.claim("f", 1, "w", only=["7"])
    failure = Failure("rejected", f"'{CANARY}' is none", "email", f"add {CANARY}")
    ending = Ending(held.rows[0], "dead", failure=failure, body={"email": CANARY})
    said = {"email": CANARY}
    step = StepRow(held.rows[0].seq, "made", "write", "failed", said, said, {"message": CANARY})
    store.outcomes.advance(held, [ending], settled=held.fences, steps=[step])


def everything(store: Store, place: Path | str) -> bytes:
    """All that lies there: the files of SQLite, every value of every table of PostgreSQL."""
    if isinstance(place, Path):
        return b"".join(one.read_bytes() for one in sorted(place.parent.glob(f"{place.name}*")))
    found = []
    with store.transaction() as tx:
        for table in t.metadata.sorted_tables:
            for row in tx.execute(table.select()):
                found += [bytes(one) if isinstance(one, bytes) else str(one).encode() for one in row]
    return b"\n".join(found)


def values(store: Store) -> list[Any]:
    """What a user sees of all records."""
    return [
        (row.key, row.version, row.state, row.payload, row.body, row.error_message, row.error_help)
        for row in store.records()
    ]


# -- at rest -----------------------------------------------------------------------------------------------------------


def test_nothing_of_a_payload_lies_open(sealed: Store, store_place: Path | str, tmp_path: Path) -> None:
    fill_all(sealed)
    assert CANARY.encode() not in everything(sealed, store_place)
    backup(read_store(store_place, covered(OLD)).database, tmp_path / "copy.backup")
    assert CANARY.encode() not in (tmp_path / "copy.backup").read_bytes()
    for place in PLACES:  # each place was filled, or the look above says nothing
        with sealed.transaction() as tx:
            for row in tx.execute(place.table.select()).mappings():
                assert all(row[name] is None or MARK in _text(row[name]) for name in place.columns)
            assert all(
                tx.execute(place.table.select().where(place.table.c[name].is_not(None))).first()
                for name in place.columns
            )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else value


def test_the_same_is_seen_as_without(sealed: Store, tmp_path: Path) -> None:
    plain = open_store(tmp_path / "plain.db")
    for store in (plain, sealed):
        fill_all(store)
    assert values(sealed) == values(plain)
    assert CANARY.encode() in everything(plain, tmp_path / "plain.db")
    one, other = (store.records(key="1")[0] for store in (sealed, plain))
    assert sealed.receipt(one.seq)["response"] == plain.receipt(other.seq)["response"]  # type: ignore[index]
    for look in (lambda s: [e.words for life in Tracing(s.database).follow("2") for e in life.events],
                 lambda s: [a.message for a in s.alerts.open()],
                 lambda s: [n.alert.message for n in s.alerts.notices()],
                 lambda s: verify(s.database)):  # fmt: skip
        assert look(sealed) == look(plain)
    plain.close()


def test_every_column_that_could_hold_values_is_closed_or_is_known_to_stay_open() -> None:
    """A new column of a table asks which of the two it is."""
    closed = {f"{place.table.name}.{name}" for place in PLACES for name in place.columns}
    open_ = {
        # names, keys and ids, by which things are found; see docs/state.md
        "records.key", "records.version", "records.lane", "records.reason", "records.error_field",
        "records.error_place", "heads.key", "heads.version", "lanes.lane", "cursors.value", "journal.intent",
        "journal.target_id", "history.who", "xref.source_id", "xref.target_id", "sent.object", "circuits.reason", "steps.path",
        "runs.counts", "alerts.channel", "alerts.flow", "alerts.connection", "alerts.place", "alerts.examples",
        "alerts.ack_by", "alert_notices.channel", "alert_notices.error", "audit.who", "audit.detail",
        "tokens.sealed", "tokens.refused_words", "budgets.paused_by", "budgets.slow_by", "budgets.counted",
        "budgets.told",
        "pauses.reason", "pauses.who", "access_tokens.created_by", "events.event_id", "events.object", "events.error", "schedules.spec",
        "schedules.error",
    }  # fmt: skip
    found = {
        f"{table.name}.{column.name}" for table in t.metadata.sorted_tables for column in table.columns
        if isinstance(column.type, LargeBinary | Text)
    }  # fmt: skip
    assert found == closed | open_


def test_moved_to_another_row_it_does_not_open(sealed: Store) -> None:
    fill_all(sealed)
    with sealed.transaction() as tx:
        tx.execute(text("UPDATE records SET payload = (SELECT payload FROM records WHERE key = '3') WHERE key = '5'"))
    with pytest.raises(StoreError, match="does not open: it was changed, or moved here from another row"):
        sealed.records(key="5")
    assert sealed.records(key="3")[0].payload["email"] == CANARY
    with pytest.raises(StoreError, match=r"records\.payload f 5"):
        sealed.lanes.claim("f", 10, "w")
    (finding,) = verify(sealed.database)
    assert (finding.name, finding.count, finding.examples) == ("sealed", 1, ("f 5 #6",))
    with sealed.transaction() as tx:
        tx.execute(text("UPDATE journal SET body = response WHERE intent = 'i1'"))
        tx.execute(text("UPDATE history SET seq = 1 WHERE id = (SELECT max(id) FROM history)"))
        tx.execute(text("UPDATE alerts SET message = 'sealed:1:x:y'"))
    assert verify(sealed.database)[0].count == 4


def test_u0000_in_a_key_does_not_keep_it_closed(sealed: Store) -> None:
    sealed.inbox.add("f", [Incoming("a\0b", "1\0", "a\0b", {"email": "x\0y"})])
    assert sealed.records()[0].payload == {"email": "x\0y"}


def test_words_of_a_system_that_look_closed_are_none(store: Store) -> None:
    store.inbox.add("f", [Incoming("1", None, "1", {"v": 1})])
    held = store.lanes.claim("f", 1, "w")
    failure = Failure("rejected", "sealed:1:aaaaaaaaaaaa:AAAA")
    store.outcomes.advance(held, [Ending(held.rows[0], "dead", failure=failure)])
    assert (store.records()[0].error_message or "").strip() == failure.message


# -- keys --------------------------------------------------------------------------------------------------------------


def test_without_its_key_a_store_is_not_opened(store_place: Path | str, tmp_path: Path) -> None:
    store = open_store(store_place, cover=covered(OLD))
    fill(store)
    backup(store.database, tmp_path / "copy.backup")
    store.close()
    for cover in (None, covered(NEW), covered(NEW, encrypts=False)):
        with pytest.raises(StoreError, match="the store is encrypted with key") as said:
            open_store(store_place, cover=cover)
        assert said.value.help.startswith("put that key back")
        with pytest.raises(StoreError, match="the store is encrypted with key"):
            read_store(store_place, cover)
    with pytest.raises(ProjectError, match="needs a key"):
        Cover(encrypts=True)
    empty = open_store(tmp_path / "empty.db", cover=covered(NEW))
    with pytest.raises(StoreError, match="the store is encrypted with key"):
        restore(tmp_path / "copy.backup", empty.database)
    empty.close()
    empty = open_store(tmp_path / "empty.db", cover=covered(NEW, OLD))
    restore(tmp_path / "copy.backup", empty.database)
    back = open_store(store_place, cover=covered(OLD))
    assert values(empty) == values(back)
    empty.close()
    back.close()


def test_switched_on_turned_and_switched_off(store_place: Path | str) -> None:
    """What was written before stays readable at each step, and is rewritten whole."""
    plain = open_store(store_place)
    fill_all(plain)
    wanted = values(plain)
    plain.close()
    steps = [(covered(OLD), OLD), (covered(NEW, OLD), NEW), (covered(NEW, encrypts=False), "")]
    for cover, key in steps:
        store = open_store(store_place, cover=cover)
        assert values(store) == wanted
        done = rewrite(store.database, "tester")
        assert (done.left, done.unopened) == (0, []) and done.rows == 17
        assert values(store) == wanted and verify(store.database) == []
        assert rewrite(store.database, "tester").rows == 0
        with store.transaction() as tx:
            ids = list(tx.execute(t.seal_keys.select()).scalars())
            said = [row["detail"] for row in tx.execute(t.audit.select()).mappings() if "rotate" in row["action"]]
        assert ids == ([Seal(Secret(key)).key_id] if key else []) and said[-1].startswith("ended: ")
        store.close()
    open_store(store_place).close()


def test_after_switching_on_nothing_is_left_in_the_file(store_place: Path | str, tmp_path: Path) -> None:
    plain = open_store(store_place)
    fill_all(plain)
    plain.close()
    store = open_store(store_place, cover=covered(OLD))
    assert CANARY.encode() in everything(store, store_place)
    rewrite(store.database, "tester")
    sweep(store.database)
    assert CANARY.encode() not in everything(store, store_place)
    store.close()


def test_what_does_not_open_stays_and_keeps_its_key(sealed: Store, store_place: Path | str) -> None:
    fill(sealed)
    with sealed.transaction() as tx:
        tx.execute(text("UPDATE records SET payload = (SELECT payload FROM records WHERE key = '3') WHERE key = '5'"))
    put_over(sealed.database, covered(NEW, OLD))
    done = rewrite(sealed.database, "tester")
    assert done.unopened == ["f 5 #6"] and done.left == 0
    with sealed.transaction() as tx:
        assert len(list(tx.execute(t.seal_keys.select()))) == 2


def test_a_process_that_runs_finds_the_new_key(store_place: Path | str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [OLD]
    cover = Cover(lambda: Seal(Secret(" ".join(keys))), encrypts=True)
    runs = open_store(store_place, cover=cover)
    fill(runs)
    wanted = values(runs)
    keys[:] = [NEW, OLD]
    beside = open_database(store_place, beside=True)
    put_over(beside, covered(NEW, OLD))
    assert rewrite(beside, "tester").left == 0
    beside.close()
    assert values(runs) == wanted, "it meets a key it does not know, and looks"
    monkeypatch.setattr("flowrun.store.cover.REREAD_SECS", 0.0)
    runs.inbox.add("f", [Incoming("9", None, "9", {"v": 1})])
    with runs.transaction() as tx:
        payload = tx.execute(text("SELECT payload FROM records WHERE key = '9'")).scalar()
    assert payload.startswith(f"{MARK}{Seal(Secret(NEW)).key_id}:".encode())
    runs.close()


WORKER = """
import sys
from pathlib import Path
from tests.store.test_sealed import NEW, OLD, covered
from flowrun.store.database import open_database
from flowrun.store import sealing
sealing.PART = 10
place = sys.argv[1]
database = open_database(place if "://" in place else Path(place), beside=True)
sealing.put_over(database, covered(NEW, OLD))
def report(table, rows):
    print(rows, flush=True)
    if rows >= 50:
        sys.stdin.readline()  # killed here
sealing.rewrite(database, "killed", report)
"""


def test_killed_in_the_middle_it_goes_on(store_place: Path | str) -> None:
    store = open_store(store_place, cover=covered(OLD))
    store.inbox.add("f", [Incoming(str(n), None, str(n), {"email": f"{n} {CANARY}"}) for n in range(300)])
    wanted = values(store)
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), str(root / "engine"), str(root / "connectors")])
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(store_place)], env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert worker.stdout is not None
    while int(worker.stdout.readline()) < 50:
        pass
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    store.close()
    with pytest.raises(StoreError, match="is encrypted with key"):
        open_store(store_place, cover=covered(OLD))
    store = open_store(store_place, cover=covered(NEW, OLD))
    assert values(store) == wanted, "both keys are in use"
    done = rewrite(store.database, "tester")
    assert (done.rows, done.left) == (250, 0)
    store.close()
    store = open_store(store_place, cover=covered(NEW))
    assert values(store) == wanted and verify(store.database) == []
    store.close()


def test_rotation_under_load_loses_nothing(store_place: Path | str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker takes in and delivers all the time, while the key is changed five times."""
    monkeypatch.setattr("flowrun.store.cover.REREAD_SECS", 0.05)
    monkeypatch.setattr(module, "PART", 20)
    keys = [OLD]

    def read() -> Seal:
        return Seal(Secret(" ".join(keys)))

    store = open_store(store_place, cover=Cover(read, encrypts=True))
    stop, failed, count = threading.Event(), [], 0

    def work() -> None:
        nonlocal count
        try:
            while not stop.is_set() or count % 2:
                batch = [Incoming(f"{count}-{n}", None, f"{count}-{n}", {"email": CANARY}) for n in range(10)]
                store.inbox.add("f", batch)
                held = store.lanes.claim("f", 40, "w")
                assert all(row.payload == {"email": CANARY} for row in held.rows)
                endings = [
                    Ending(row, "dead", failure=Failure("rejected", CANARY), body=row.payload) for row in held.rows
                ]
                store.outcomes.advance(held, endings, settled=held.fences)
                count += 1
                time.sleep(0.005)  # slower than rewriting, or each turn has several times as much to do
        except BaseException as error:
            failed.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    beside = open_database(store_place, beside=True)
    for turn in range(5):
        keys[:] = [base64.b64encode(bytes([10 + turn]) * 32).decode(), *keys]
        put_over(beside, Cover(read, encrypts=True))
        rewrite(beside, "tester")
        time.sleep(0.1)
    stop.set()
    worker.join(60)
    assert not failed and count > 10
    put_over(beside, Cover(read, encrypts=True))
    assert rewrite(beside, "tester").left == 0
    beside.close()
    store.close()
    last = open_store(store_place, cover=covered(keys[0]))
    assert last.counts("f") == {"dead": 10 * count} and verify(last.database) == []
    assert all(row.error_message == CANARY for row in last.records(limit=100_000))
    last.close()


# -- a person's data ---------------------------------------------------------------------------------------------------


def test_what_is_encrypted_is_found_and_erased(sealed: Store, store_place: Path | str) -> None:
    fill_all(sealed)
    found = holding(sealed.database, CANARY.upper())
    assert [row.key for row in found] == ["1", "2", "3", "4", "4", "5", "6", "7"]
    assert holding(sealed.database, "nobody") == []
    forget(sealed.database, found, reason="asked", who="tester")
    assert holding(sealed.database, CANARY) == [] and verify(sealed.database) == []
    said = [
        values(sealed),
        [a.message for a in sealed.alerts.open()],
        [n.alert.message for n in sealed.alerts.notices()],
    ]
    said.append([event.words for life in Tracing(sealed.database).follow("2") for event in life.events])
    assert CANARY not in str(said)
