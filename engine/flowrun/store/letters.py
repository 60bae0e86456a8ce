"""Dead letters: records that wait for a person. Corrected, replayed in their old place, or given up with a reason.

Each change is one transaction with its history and its audit, and touches only what is still a dead letter by then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from flowrun.errors import ProjectError
from flowrun.store import schema as t
from flowrun.store.database import Database
from flowrun.store.lanes import Lanes, with_journal
from flowrun.store.rows import AS_RAN, DETAIL, PAYLOAD, REPLAY, Row, row_of
from flowrun.store.steps import Steps
from flowrun.values import decode_json, encode_json

_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Kept:
    """What a record became when it was sent last, or was about to be."""

    intent: str
    body: dict[str, Any]


class Letters:
    def __init__(self, database: Database, lanes: Lanes, steps: Steps) -> None:
        self._db = database
        self._lanes = lanes
        self._steps = steps

    # -- changing --------------------------------------------------------------------------------------------------

    def edit(self, row: Row, payload: Mapping[str, Any], who: str) -> int:
        return self.edit_all([(row, payload)], who)

    def edit_all(self, changes: Sequence[tuple[Row, Mapping[str, Any]]], who: str) -> int:
        """Replace the source records of dead letters; they stay dead until they are replayed. Returns how many."""
        r = t.records.c
        edited: list[tuple[Row, Mapping[str, Any]]] = []
        with self._db.transaction() as tx:
            now = self._db.time(tx)
            for row, payload in changes:
                whose = (row.flow, row.key, row.version, row.received_at)
                text = self._db.cover.close(encode_json(dict(payload)).decode(), PAYLOAD, *whose)
                values = {"payload": text.encode(), "edited": 1, "changed_at": now}
                query = update(t.records).where(r.seq == row.seq, r.state == "dead").values(**values)
                if tx.execute(query).rowcount:
                    edited.append((row, {"before": row.payload}))
            self._said(tx, edited, "edited", who)
        return len(edited)

    def replay(self, rows: Sequence[Row], who: str) -> int:
        """Back into the inbox, at their old places in their lanes, to go through the flow as it is then. A workflow
        goes on at the step that failed."""
        with self._db.transaction() as tx:
            gone = self._change(tx, rows, state="received", attempts=0, queue=None, reason=REPLAY)
            for part in _parts(gone):
                self._steps.retry(tx, [row.seq for row in part])
            self._said(tx, [(row, {}) for row in gone], "replayed", who)
            self._lanes.wake(tx, [(row.flow, row.lane) for row in gone])
        return len(gone)

    def replay_as_ran(self, rows: Sequence[Row], who: str) -> int:
        """The same with the bodies that are kept, whatever the flow says now. Raises ProjectError, and then none is
        replayed.

        What is to be sent goes into the history with the replay: it stays the same through retries and restarts.
        """
        with self._db.transaction() as tx:
            with_steps = self._steps.known(tx, [row.seq for row in rows])
            _refuse_workflows([row for row in rows if row.seq in with_steps])
            intents = self._intents(tx, [row for row in rows if row.intent is None])
            kept: dict[int, Kept] = {}
            for row in rows:
                intent = row.intent or intents.get(row.seq)
                if row.body is not None and intent is not None and not row.edited:
                    kept[row.seq] = Kept(intent, row.body)
            _refuse([row for row in rows if row.seq not in kept], len(rows))
            gone = self._change(tx, rows, state="received", attempts=0, queue=None, reason=AS_RAN)
            details = [(row, _as_detail(kept[row.seq])) for row in gone]
            self._said(tx, details, "replayed", who, "as it ran: ")
            self._lanes.wake(tx, [(row.flow, row.lane) for row in gone])
        return len(gone)

    def discard(self, rows: Sequence[Row], reason: str, who: str) -> int:
        with self._db.transaction() as tx:
            gone = self._change(tx, rows, state="discarded", reason=reason)
            self._said(tx, [(row, {"reason": reason}) for row in gone], "discarded", who, f"{reason}: ")
            self._lanes.wake(tx, [(row.flow, row.lane) for row in gone])
        return len(gone)

    def reviewed(self, rows: Sequence[Row], note: str, who: str) -> int:
        """A person has looked at confirmed records that were flagged; they leave the review queue."""
        r = t.records.c
        done: set[int] = set()
        with self._db.transaction() as tx:
            for part in _parts(rows):
                seqs = [row.seq for row in part]
                query = update(t.records).where(r.seq.in_(seqs), r.state == "confirmed", r.flag.is_not(None))
                done.update(tx.execute(query.values(flag=None).returning(r.seq)).scalars())
            looked = [(row, {"flag": row.flag, "note": note}) for row in rows if row.seq in done]
            self._said(tx, looked, "reviewed", who, f"{note}: ")
        return len(looked)

    # -- reading ---------------------------------------------------------------------------------------------------

    def flagged(self, flow: str | None = None, keys: Sequence[str] = ()) -> list[Row]:
        """The review queue in order of arrival: what an ``on_error`` flagged and nobody has looked at yet."""
        r = t.records.c
        query = select(t.records).where(r.flag.is_not(None), t.among(r.state, "dead", "confirmed")).order_by(r.seq)
        if flow is not None:
            query = query.where(r.flow == flow)
        if keys:
            query = query.where(r.key.in_(keys))
        with self._db.transaction() as tx:
            return with_journal(self._db, tx, [row_of(found, self._db.cover) for found in tx.execute(query).mappings()])

    def by_seq(self, seqs: Sequence[int]) -> dict[int, Row]:
        """Records in whatever state."""
        found: dict[int, Row] = {}
        with self._db.transaction() as tx:
            for part in _parts(seqs):
                query = select(t.records).where(t.records.c.seq.in_(part))
                found.update((one["seq"], row_of(one, self._db.cover)) for one in tx.execute(query).mappings())
        return found

    def as_ran(self, seqs: Sequence[int]) -> dict[int, Kept]:
        """What their last replay said to send."""
        h = t.history.c
        found: dict[int, Kept] = {}
        with self._db.transaction() as tx:
            for part in _parts(seqs):
                query = select(h.seq, h.detail, h.at).where(h.seq.in_(part), h.event == "replayed").order_by(h.id)
                for seq, text, at in tx.execute(query):
                    detail = decode_json(self._db.cover.open_text(text, DETAIL, seq, "replayed", at))
                    if "body" in detail:
                        found[seq] = Kept(detail["intent"], detail["body"])
        return found

    # -- helpers ---------------------------------------------------------------------------------------------------

    def _intents(self, tx: Connection, rows: Sequence[Row]) -> dict[int, str]:
        """The keys under which records were sent that the target refused: the journal forgot them, the history not."""
        h = t.history.c
        found: dict[int, str] = {}
        for part in _parts(rows):
            seqs = [row.seq for row in part]
            query = select(h.seq, h.detail, h.at).where(h.seq.in_(seqs), h.event == "dead").order_by(h.id)
            for seq, text, at in tx.execute(query):
                if intent := decode_json(self._db.cover.open_text(text, DETAIL, seq, "dead", at)).get("intent"):
                    found[seq] = intent
        return found

    def _change(self, tx: Connection, rows: Sequence[Row], **values: Any) -> list[Row]:
        """Those of the rows that were dead letters until now."""
        r = t.records.c
        now = self._db.time(tx)
        changed: set[int] = set()
        for part in _parts(rows):
            seqs = [row.seq for row in part]
            query = update(t.records).where(r.seq.in_(seqs), r.state == "dead").values(**values, changed_at=now)
            changed.update(tx.execute(query.returning(r.seq)).scalars())
        return [row for row in rows if row.seq in changed]

    def _said(
        self, tx: Connection, rows: Sequence[tuple[Row, Mapping[str, Any]]], event: str, who: str, words: str = ""
    ) -> None:
        """Into the history of each, with its detail, and once into the audit."""
        if not rows:
            return
        now, close = self._db.time(tx), self._db.cover.close
        entries = []
        for row, detail in rows:
            said = close(encode_json(dict(detail)).decode(), DETAIL, row.seq, event, now)
            entries.append({"seq": row.seq, "at": now, "event": event, "detail": said, "who": who})
        tx.execute(insert(t.history), entries)
        names = ", ".join(f"{row.flow} {row.key} #{row.seq}" for row, _ in rows[:20])
        more = f" and {len(rows) - 20} more" if len(rows) > 20 else ""
        tx.execute(insert(t.audit).values(at=now, who=who, action=f"dlq {event}", detail=words + names + more))


def _as_detail(kept: Kept) -> dict[str, Any]:
    return {"as_ran": True, "intent": kept.intent, "body": kept.body}


def _refuse(rows: Sequence[Row], of: int) -> None:
    if not rows:
        return
    edited = [row.key for row in rows if row.edited]
    never = [row.key for row in rows if not row.edited]
    said = []
    if never:
        said.append(f"{len(never)} of {of} were never mapped to a body: {_some(never)}")
    if edited:
        said.append(f"{len(edited)} of {of} were corrected, so what ran is not what is meant: {_some(edited)}")
    raise ProjectError("; ".join(said), help="replay these without --as-ran; none of them was replayed now")


def _refuse_workflows(rows: Sequence[Row]) -> None:
    if rows:
        words = f"a workflow did more than one thing; not sent again as it ran: {_some([r.key for r in rows])}"
        raise ProjectError(words, help="replay these without --as-ran: each goes on at the step that failed")


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:5]) + (" …" if len(keys) > 5 else "")


def _parts(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]
