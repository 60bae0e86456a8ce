"""Steps of workflows: each outcome is durable with the transaction that holds what it came with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, or_, select

from flowrun.store import schema as t
from flowrun.store.cover import Cover
from flowrun.store.database import Database
from flowrun.store.rows import STEP_ANSWER, STEP_ERROR, STEP_SENT, StepRow
from flowrun.values import decode_json, encode_json

_CHUNK = 500
_VALUES = ("kind", "state", "sent", "answer", "error", "due", "at")


class Steps:
    def __init__(self, database: Database) -> None:
        self._db = database

    def of(self, seqs: Sequence[int]) -> dict[int, list[StepRow]]:
        """Of these records, in the order in which they came to what they are."""
        found: dict[int, list[StepRow]] = {}
        s = t.steps.c
        with self._db.transaction() as tx:
            for start in range(0, len(seqs), _CHUNK):
                query = select(t.steps).where(s.seq.in_(seqs[start : start + _CHUNK])).order_by(s.at, s.id)
                for row in tx.execute(query).mappings():
                    found.setdefault(row["seq"], []).append(step_of(row, self._db.cover))
        return found

    def known(self, tx: Connection, seqs: Sequence[int]) -> set[int]:
        """Those of these records that have steps."""
        found: set[int] = set()
        for start in range(0, len(seqs), _CHUNK):
            query = select(t.steps.c.seq).where(t.steps.c.seq.in_(seqs[start : start + _CHUNK]))
            found |= set(tx.execute(query).scalars())
        return found

    def keep(self, tx: Connection, rows: Sequence[StepRow], now: float) -> None:
        if not rows:
            return
        changing = self._db.upsert(t.steps, ("seq", "path"), _VALUES)
        tx.execute(changing, [self._values(row, now) for row in rows])

    def retry(self, tx: Connection, seqs: Sequence[int]) -> None:
        """What failed for good is tried again. What was written stays, with all that it may rest on; what was read or
        decided after it is read and decided again, since a person may have mended it there."""
        s, w = t.steps.c, t.steps.alias("w")
        written = select(func.max(w.c.id)).where(w.c.seq == s.seq, w.c.kind == "write", w.c.state == "done")
        later = s.id > func.coalesce(written.scalar_subquery(), 0)
        tx.execute(delete(t.steps).where(s.seq.in_(seqs), or_(s.state == "failed", later)))

    def _values(self, row: StepRow, now: float) -> dict[str, Any]:
        def closed(value: Mapping[str, Any] | None, place: str) -> str | None:
            if value is None:
                return None
            return self._db.cover.close(encode_json(dict(value)).decode(), place, row.seq, row.path)

        sent, answer = closed(row.sent, STEP_SENT), closed(row.answer, STEP_ANSWER)
        return {
            "seq": row.seq, "path": row.path, "kind": row.kind, "state": row.state,
            "sent": None if sent is None else sent.encode(), "answer": None if answer is None else answer.encode(),
            "error": closed(row.error, STEP_ERROR), "due": row.due, "at": now,
        }  # fmt: skip


def step_of(row: Any, cover: Cover) -> StepRow:
    """row: of ``steps``, as a mapping. Raises StoreError for what does not open."""
    whose = (row["seq"], row["path"])

    def opened(name: str, place: str) -> Any:
        return None if row[name] is None else decode_json(cover.open(row[name], place, *whose))

    error = None if row["error"] is None else decode_json(cover.open_text(row["error"], STEP_ERROR, *whose))
    return StepRow(
        row["seq"], row["path"], row["kind"], row["state"], opened("answer", STEP_ANSWER), opened("sent", STEP_SENT),
        error, row["due"], row["at"], row["id"],
    )  # fmt: skip
