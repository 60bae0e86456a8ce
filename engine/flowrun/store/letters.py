"""Dead letters: records that wait for a person. Corrected, replayed in their old place, or given up with a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert, update

from flowrun.store import schema as t
from flowrun.store.database import Database
from flowrun.store.lanes import Lanes
from flowrun.store.rows import Row
from flowrun.values import encode_json


class Letters:
    def __init__(self, database: Database, lanes: Lanes) -> None:
        self._db = database
        self._lanes = lanes

    def edit(self, row: Row, payload: Mapping[str, Any], who: str) -> None:
        """Replace a dead letter's source record; it stays dead until it is replayed."""
        with self._db.transaction() as tx:
            self._change(tx, [row], payload=encode_json(dict(payload)), edited=1)
            self._said(tx, [row], "edited", who, {"before": row.payload})

    def replay(self, rows: Sequence[Row], who: str) -> None:
        """Back into the inbox, at their old places in their lanes."""
        with self._db.transaction() as tx:
            self._change(tx, rows, state="received", attempts=0, queue=None, reason="replay")
            self._said(tx, rows, "replayed", who, {})
            self._lanes.wake(tx, [(row.flow, row.lane) for row in rows])

    def discard(self, rows: Sequence[Row], reason: str, who: str) -> None:
        with self._db.transaction() as tx:
            self._change(tx, rows, state="discarded", reason=reason)
            self._said(tx, rows, "discarded", who, {"reason": reason})
            self._lanes.wake(tx, [(row.flow, row.lane) for row in rows])

    def _change(self, tx: Connection, rows: Sequence[Row], **values: Any) -> None:
        r = t.records.c
        now = self._db.time(tx)
        for start in range(0, len(rows), 500):
            seqs = [row.seq for row in rows[start : start + 500]]
            tx.execute(update(t.records).where(r.seq.in_(seqs), r.state == "dead").values(**values, changed_at=now))

    def _said(self, tx: Connection, rows: Sequence[Row], event: str, who: str, detail: Mapping[str, Any]) -> None:
        if not rows:
            return
        now = self._db.time(tx)
        text = encode_json(dict(detail)).decode()
        tx.execute(
            insert(t.history),
            [{"seq": row.seq, "at": now, "event": event, "detail": text, "who": who} for row in rows],
        )
        names = ", ".join(f"{row.flow} {row.key} #{row.seq}" for row in rows[:20])
        more = f" and {len(rows) - 20} more" if len(rows) > 20 else ""
        tx.execute(insert(t.audit).values(at=now, who=who, action=f"dlq {event}", detail=names + more))
