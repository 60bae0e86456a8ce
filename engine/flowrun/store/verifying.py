"""The invariant, looked for on a live store: every record received ends in exactly one outcome, nothing is stuck, and
what duplicates are known by is there. Each check is one statement for both databases that names what breaks it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, text

from flowrun.store import schema as t
from flowrun.store.database import Database
from flowrun.store.reading import one_moment
from flowrun.store.rows import fingerprint, row_of
from flowrun.store.sealing import unopened
from flowrun.values import decode_json

EXAMPLES = 5  # of each finding are named
_PART = 500
_OPEN = "('received', 'sent', 'in_doubt')"
_STATES = "('received', 'sent', 'in_doubt', 'dead', 'confirmed', 'skipped', 'superseded', 'discarded')"


@dataclass(frozen=True, slots=True)
class Finding:
    """name: of the check. what: one of them is wrong how. examples: ``flow key #seq``, the first few. mended: by the
    same call. next: what to type or do."""

    name: str
    what: str
    count: int
    examples: tuple[str, ...]
    mended: bool = False
    next: str = ""


@dataclass(frozen=True, slots=True)
class _Check:
    """query: gives (flow, key, seq) of what breaks it; a seq may be the id of another table's row."""

    name: str
    what: str
    query: str
    next: str = ""
    mends: bool = False


CHECKS = (
    _Check(
        "state", "a record is in a state that does not exist",
        f"SELECT flow, key, seq FROM records WHERE state NOT IN {_STATES}",
        "restore a backup: flowrun state restore FILE",
    ),
    _Check(
        "stuck", "a record waits for delivery in no lane, so nobody would ever try it",
        "SELECT flow, key, seq FROM records r WHERE r.state IN " + _OPEN +
        " AND NOT EXISTS (SELECT 1 FROM lanes l WHERE l.flow = r.flow AND l.lane = r.lane)",
        mends=True,
    ),
    _Check(
        "parked", "a lane waits behind a dead letter that is none any more",
        "SELECT l.flow, l.lane, l.id FROM lanes l WHERE l.due IS NULL AND NOT EXISTS (SELECT 1 FROM records r"
        " WHERE r.flow = l.flow AND r.lane = l.lane AND r.state = 'dead')",
        mends=True,
    ),
    _Check(
        "receipt", "a record counts as confirmed, but nothing says that it arrived",
        "SELECT flow, key, seq FROM records r WHERE r.state = 'confirmed' AND r.reason IS NULL"
        " AND NOT EXISTS (SELECT 1 FROM journal j WHERE j.seq = r.seq AND j.state = 'done')"
        " AND NOT EXISTS (SELECT 1 FROM history h WHERE h.seq = r.seq AND h.event = 'confirmed')",
        "look at the target; what is missing there is sent again when its source changes",
    ),
    _Check(
        "intent", "a record is in doubt, but what was sent is not known",
        "SELECT flow, key, seq FROM records r WHERE r.state IN ('sent', 'in_doubt')"
        " AND NOT EXISTS (SELECT 1 FROM journal j WHERE j.seq = r.seq)",
        "look at the target whether it arrived before the flow runs again",
    ),
    _Check(
        "order", "a later record of a key without versions was confirmed before an earlier one",
        "SELECT a.flow, a.key, a.seq FROM records a WHERE a.state IN ('received', 'sent', 'in_doubt', 'dead')"
        " AND a.version IS NULL AND EXISTS (SELECT 1 FROM records b WHERE b.flow = a.flow AND b.key = a.key"
        " AND b.seq > a.seq AND b.state = 'confirmed' AND b.version IS NULL)",
        "flowrun dlq discard FLOW KEY --reason … for the one that came too late",
    ),
    _Check(
        "head", "a key is not remembered, so that it would be taken in again as new",
        "SELECT r.flow, r.key, max(r.seq) FROM records r WHERE NOT EXISTS (SELECT 1 FROM heads h"
        " WHERE h.flow = r.flow AND h.key = r.key) GROUP BY r.flow, r.key",
        mends=True,
    ),
    _Check(
        "journal", "the journal has an entry of a record that is not there",
        "SELECT j.flow, j.intent, j.id FROM journal j WHERE j.state = 'in_doubt'"
        " AND NOT EXISTS (SELECT 1 FROM records r WHERE r.seq = j.seq)",
        "look at the target whether it arrived",
    ),
    _Check(
        "steps", "a step stands for a record that is not there",
        "SELECT '' AS flow, s.path, s.id FROM steps s WHERE NOT EXISTS (SELECT 1 FROM records r WHERE r.seq = s.seq)",
        mends=True,
    ),
    _Check(
        "history", "the history speaks of a record that is not there",
        "SELECT '' AS flow, h.event, h.id FROM history h"
        " WHERE NOT EXISTS (SELECT 1 FROM records r WHERE r.seq = h.seq)",
        mends=True,
    ),
)  # fmt: skip


def verify(database: Database, *, mend: str = "") -> list[Finding]:
    """All findings, of one moment. mend: who wants what can be mended safely to be mended, audited; without it nothing
    is written. Raises StoreError."""
    with database.transaction() as tx:
        one_moment(tx)
        findings = [*_damage(tx), *_unopened(database, tx), *_sums(tx)]
        for check in CHECKS:
            found = tx.execute(text(check.query)).fetchmany(EXAMPLES)
            if not found:
                continue
            count = int(tx.execute(text(f"SELECT count(*) FROM ({check.query}) AS found")).scalar_one())
            mended = bool(mend) and check.mends
            if mended:
                _MENDERS[check.name](database, tx, check)
                detail = f"{check.name}: {count}"
                tx.execute(insert(t.audit).values(at=database.time(tx), who=mend, action="state mend", detail=detail))
            examples = tuple(f"{flow} {key} #{seq}".strip() for flow, key, seq in found)
            next_ = "" if mended else "flowrun state verify --mend" if check.mends else check.next
            findings.append(Finding(check.name, check.what, count, examples, mended, next_))
    return findings


def _damage(tx: Connection) -> Iterator[Finding]:
    """What the database itself finds wrong with its file; a server looks after its own."""
    if tx.dialect.name != "sqlite":
        return
    words = [str(row[0]) for row in tx.exec_driver_sql("PRAGMA integrity_check(20)")]
    if words != ["ok"]:
        yield Finding(
            "file", "the file is damaged", len(words), tuple(words[:EXAMPLES]),
            next="restore a backup: flowrun state restore FILE",
        )  # fmt: skip


def _unopened(database: Database, tx: Connection) -> Iterator[Finding]:
    names = list(unopened(tx, database.cover))
    if names:
        yield Finding(
            "sealed", "an encrypted value does not open: it was changed or moved, or its key is gone", len(names),
            tuple(names[:EXAMPLES]),
            next="put the key back (store: key), or restore a backup: flowrun state restore FILE",
        )  # fmt: skip


def _sums(tx: Connection) -> Iterator[Finding]:
    """Runs whose records are not as many as they received."""
    query = text("SELECT run, count(*) FROM records WHERE run IS NOT NULL GROUP BY run")
    there = {int(run): int(count) for run, count in tx.execute(query)}
    wrong = []
    for run, flow, counts in tx.execute(text("SELECT id, flow, counts FROM runs WHERE counts IS NOT NULL ORDER BY id")):
        said = decode_json(counts)
        if said.get("received", 0) - said.get("pruned", 0) != there.get(run, 0):
            wrong.append(f"{flow} run {run}: {said.get('received', 0)} received, {there.get(run, 0)} there")
    if wrong:
        yield Finding(
            "sum", "a run's records are not as many as it received", len(wrong), tuple(wrong[:EXAMPLES]),
            next="restore a backup: flowrun state restore FILE",
        )  # fmt: skip


# -- mending -----------------------------------------------------------------------------------------------------------


def _due_now(database: Database, tx: Connection, check: _Check) -> None:
    tx.execute(
        text(
            "INSERT INTO lanes (flow, lane, due, fence) SELECT DISTINCT r.flow, r.lane, :now + 0.0, 0 FROM records r"
            f" WHERE r.seq IN (SELECT seq FROM ({check.query}) AS found)"
        ),
        {"now": database.time(tx)},
    )


def _unpark(database: Database, tx: Connection, check: _Check) -> None:
    tx.execute(
        text(f"UPDATE lanes SET due = :now WHERE id IN (SELECT id FROM ({check.query}) AS found)"),
        {"now": database.time(tx)},
    )


def _drop_history(_: Database, tx: Connection, check: _Check) -> None:
    tx.execute(text(f"DELETE FROM history WHERE id IN (SELECT id FROM ({check.query}) AS found)"))


def _remember(database: Database, tx: Connection, check: _Check) -> None:
    """Heads from the newest record of each key."""
    now = database.time(tx)
    while found := tx.execute(text(check.query)).fetchmany(_PART):
        for flow, key, seq in found:
            row = row_of(tx.execute(select(t.records).where(t.records.c.seq == seq)).mappings().one(), database.cover)
            print_ = fingerprint(row.payload)
            tx.execute(insert(t.heads).values(flow=flow, key=key, version=row.version, fingerprint=print_, at=now))


def _drop_steps(_: Database, tx: Connection, check: _Check) -> None:
    tx.execute(text(f"DELETE FROM steps WHERE id IN (SELECT id FROM ({check.query}) AS found)"))


_MENDERS: dict[str, Callable[[Database, Connection, _Check], None]] = {
    "stuck": _due_now, "parked": _unpark, "history": _drop_history, "steps": _drop_steps, "head": _remember,
}  # fmt: skip
