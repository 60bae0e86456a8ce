"""What happened to records, and what is about to: the one transaction between two calls to a target.

Each commit holds the outcomes of the call before and the intents of the next, so that a batch costs one commit, an
intent is always durable before its call, and an outcome is never later than the next call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from flowrun.store import schema as t
from flowrun.store import statements as st
from flowrun.store.alert_book import AlertBook
from flowrun.store.alert_rows import Incident
from flowrun.store.database import Database
from flowrun.store.lanes import Lanes
from flowrun.store.rows import ANSWER, AS_RAN, BODY, DETAIL, HELP, MESSAGE, SENT, Ending, Held, Intent, StepRow
from flowrun.store.steps import Steps
from flowrun.store.xrefs import Moved, Xrefs
from flowrun.values import decode_json, encode_json


class Advanced(NamedTuple):
    """lost: seqs that may not go on, since their lane was lost to another worker, who settles them, or a newer version
    overtook them before they were sent. moved: cross-references that lead elsewhere now. begun: new alerts."""

    lost: set[int]
    moved: list[Moved]
    begun: list[Incident]


class Outcomes:
    def __init__(self, database: Database, lanes: Lanes, xrefs: Xrefs, alerts: AlertBook, steps: Steps) -> None:
        self._db = database
        self._lanes = lanes
        self._xrefs = xrefs
        self._alerts = alerts
        self._steps = steps

    def known(self, flow: str, intents: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Journal entries by intent: seq, state, fingerprint, target_id; how ``asked``: at ``at`` in vain."""
        if not intents:
            return {}
        with self._db.transaction() as tx:
            found = st.KNOWN.run(tx, flow=flow, names=list(intents)).mappings()
            return {entry["intent"]: dict(entry) for entry in found}

    def answer(self, flow: str, intent: str) -> Mapping[str, Any]:
        """What the target answered to what is done under this intent; empty when nothing is known of it."""
        j = t.journal.c
        with self._db.transaction() as tx:
            found = tx.execute(select(j.response).where(j.flow == flow, j.intent == intent)).scalar()
        return {} if found is None else dict(decode_json(self._db.cover.open(found, ANSWER, flow, intent)))

    def asked(self, flow: str, intent: str) -> float:
        """The target did not show what is in doubt under this intent. Returns when, by the store's clock."""
        j = t.journal.c
        with self._db.transaction() as tx:
            now = self._db.time(tx)
            doubted = (j.flow == flow, j.intent == intent, j.state == "in_doubt")
            tx.execute(update(t.journal).where(*doubted).values(how="asked", at=now))
            return now

    def arrived(self, flow: str, intent: str, target_id: str) -> None:
        """What was in doubt under this intent is at the target, though it is not this record's."""
        j = t.journal.c
        with self._db.transaction() as tx:
            tx.execute(
                update(t.journal)
                .where(j.flow == flow, j.intent == intent)
                .values(state="done", target_id=target_id, how="found", at=self._db.time(tx))
            )

    def advance(
        self,
        held: Held,
        endings: Sequence[Ending],
        intents: Sequence[Intent] = (),
        *,
        flow_hash: str = "",
        settled: Iterable[int] = (),
        incidents: Sequence[tuple[int, Incident]] = (),
        answered: str = "",
        steps: Sequence[StepRow] = (),
    ) -> Advanced:
        """Commit outcomes and intents.

        steps: what steps of workflows came to, of records among these.

        settled: lanes whose last record of this claim this is; they are given back. incidents: (seq, what to alert
        about). answered: the connection that took a record, which contradicts what is open against it.
        """
        rows = [*(one.row for one in endings), *(one.row for one in intents)]
        with self._db.transaction() as tx:
            closing = set(settled)
            lanes = {row.lane_id for row in rows if row.lane_id}
            ours = self._lanes.still_held(tx, held, lanes | closing)
            lost = {row.seq for row in rows if row.lane_id and row.lane_id not in ours}
            mine = [one for one in endings if one.row.seq not in lost]
            now = self._db.time(tx)
            moved = self._end(tx, mine, now)
            self._steps.keep(tx, [one for one in steps if one.seq not in lost], now)
            waits = {one.row.lane_id: one.wait_secs for one in mine if one.wait_secs is not None and one.row.lane_id}
            if closing or waits:
                self._lanes.settle(tx, held, closing | set(waits), ours, waits, now)
            if intents:
                lost |= self._intend(tx, [one for one in intents if one.row.seq not in lost], flow_hash, now)
            mishaps = [incident for seq, incident in incidents if seq not in lost]
            begun = self._alerts.note(tx, mishaps, answered=answered)
        return Advanced(lost, moved, begun)

    # -- intents ---------------------------------------------------------------------------------------------------

    def _intend(self, tx: Connection, intents: Sequence[Intent], flow_hash: str, now: float) -> set[int]:
        j, s = t.journal.c, t.sent.c
        if not intents:
            return set()
        seqs = [one.row.seq for one in intents]
        live = set(st.SENT.run(tx, ids=seqs, flow_hash=flow_hash, now=now).scalars().all())
        going = [one for one in intents if one.row.seq in live]
        again = [{"b_flow": one.row.flow, "b_intent": one.key} for one in going if one.replaces]
        if again:
            which = (j.flow == bindparam("b_flow"), j.intent == bindparam("b_intent"))
            for one in again:
                self.keep_receipt(tx, one["b_flow"], one["b_intent"], now)
            tx.execute(delete(t.journal).where(*which), again)
        objects = [{"b_flow": one.row.flow, "b_object": one.object} for one in going if one.object]
        if objects:
            tx.execute(delete(t.sent).where(s.flow == bindparam("b_flow"), s.object == bindparam("b_object")), objects)
        if going:
            close = self._db.cover.close
            rows = [
                [one.key, one.row.seq, one.print_, close(encode_json(one.body).decode(), SENT, one.row.flow, one.key)]
                for one in going
            ]
            st.INTEND.run_many(tx, rows, flow=going[0].row.flow, now=now)
        return set(seqs) - live

    def keep_receipt(self, tx: Connection, flow: str, intent: str, now: float) -> None:
        """A later send under the same key takes the place of an earlier one; its receipt goes into the history."""
        j = t.journal.c
        query = select(j.seq, j.target_id, j.at, j.how).where(j.flow == flow, j.intent == intent, j.state == "done")
        for seq, target_id, at, how in tx.execute(query):
            detail = encode_json({"receipt": target_id, "how": how, "intent": intent, "at": round(at, 3)}).decode()
            detail = self._db.cover.close(detail, DETAIL, seq, "confirmed", now)
            tx.execute(insert(t.history).values(seq=seq, at=now, event="confirmed", detail=detail))

    # -- endings ---------------------------------------------------------------------------------------------------

    def _end(self, tx: Connection, endings: Sequence[Ending], now: float) -> list[Moved]:
        if not endings:
            return []
        close = self._db.cover.close
        self._journal(tx, endings, now)
        plain = [one.row.seq for one in endings if _is_plain(one)]
        if plain:
            st.CONFIRM.run(tx, ids=plain, now=now)
        rest = [self._values(one) for one in endings if not _is_plain(one)]
        st.END.run_many(tx, rest, now=now)
        self._close_older_letters(tx, endings, now)
        events = [
            {
                "seq": one.row.seq, "at": now, "event": one.event,
                "detail": close(encode_json(dict(one.detail or {})).decode(), DETAIL, one.row.seq, one.event, now),
            }
            for one in endings
            if one.event
        ]  # fmt: skip
        if events:
            tx.execute(insert(t.history), events)
        notes = {(one.row.flow, one.object): one.print_ for one in endings if one.object and one.print_}
        if notes:
            tx.execute(
                self._db.upsert(t.sent, ("flow", "object"), ("fingerprint", "at")),
                [{"flow": f, "object": o, "fingerprint": p, "at": now} for (f, o), p in sorted(notes.items())],
            )
        return self._xrefs.remember(tx, [xref for one in endings for xref in one.xrefs])

    def _journal(self, tx: Connection, endings: Sequence[Ending], now: float) -> None:
        j = t.journal.c
        which = (j.flow == bindparam("b_flow"), j.intent == bindparam("b_intent"))
        done = [
            [one.row.flow, one.intent, one.receipt.id, int(one.receipt.created), one.how, self._answer(one)]
            for one in endings
            if one.journal == "done" and one.receipt is not None
        ]
        st.RECEIVE.run_many(tx, done, now=now)
        undone = [{"b_flow": one.row.flow, "b_intent": one.intent} for one in endings if one.journal == "forget"]
        if undone:
            tx.execute(delete(t.journal).where(*which), undone)

    def _close_older_letters(self, tx: Connection, endings: Sequence[Ending], now: float) -> None:
        """A confirmed version closes what is older of its key and not sent: dead letters, and those that a person
        replayed meanwhile (sent now, they would overwrite the newer one)."""
        r = t.records.c
        newest = {one.row.key: one.row for one in endings if one.state == "confirmed" and one.row.version}
        if not newest:
            return
        flow = endings[0].row.flow
        older = st.UNSENT_OF.run(tx, flow=flow, names=sorted(newest)).all()
        for seq, key, lane in older:
            row = newest[key]
            if seq < row.seq:
                reason = f"version {row.version} was confirmed"
                tx.execute(
                    update(t.records).where(r.seq == seq).values(state="superseded", reason=reason, changed_at=now)
                )
                if lane != row.lane:
                    self._lanes.wake(tx, [(flow, lane)])

    def _answer(self, one: Ending) -> str | None:
        assert one.receipt is not None
        answer = one.receipt.response
        if not answer:
            return None
        return self._db.cover.close(encode_json(dict(answer)).decode(), ANSWER, one.row.flow, one.intent)

    def _values(self, one: Ending) -> list[Any]:
        """In the order of the statement's columns."""
        row, failure, close = one.row, one.failure, self._db.cover.close
        whose = (row.flow, row.key, row.version, row.received_at)
        as_ran = one.state in t.OPEN and row.reason == AS_RAN  # a retry is still the same replay
        said: list[str | None] = [None] * 5
        if failure:
            message, help_ = close(failure.message, MESSAGE, *whose), close(failure.help, HELP, *whose)
            said = [failure.error_class, failure.field, message, help_, failure.place]
        body = None if one.body is None else close(encode_json(dict(one.body)).decode(), BODY, *whose)
        return [
            row.seq, one.state, AS_RAN if as_ran else one.reason,
            row.attempts if one.attempts is None else one.attempts, one.queue, one.flag, *said, body,
            one.flow_hash or row.flow_hash,
        ]  # fmt: skip


def _is_plain(one: Ending) -> bool:
    """Confirmed at the first try, with nothing to say: nearly all of them, so one statement does for many."""
    return (
        one.state == "confirmed" and one.reason is None and one.flag is None and one.row.error_class is None
        and one.row.queue is None and one.row.reason is None and one.row.body is None
    )  # fmt: skip
