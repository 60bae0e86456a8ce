"""What happened to records, and what is about to: the one transaction between two calls to a target.

Each commit holds the outcomes of the call before and the intents of the next, so that a batch costs one commit, an
intent is always durable before its call, and an outcome is never later than the next call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from flowrun.store import schema as t
from flowrun.store.alert_book import AlertBook
from flowrun.store.alert_rows import Incident
from flowrun.store.database import Database
from flowrun.store.lanes import Lanes
from flowrun.store.rows import AS_RAN, Ending, Held, Intent
from flowrun.store.xrefs import Moved, Xrefs
from flowrun.values import encode_json

_CHUNK = 500


class Advanced(NamedTuple):
    """lost: seqs that may not go on, since their lane was lost to another worker, who settles them, or a newer version
    overtook them before they were sent. moved: cross-references that lead elsewhere now. begun: new alerts."""

    lost: set[int]
    moved: list[Moved]
    begun: list[Incident]


class Outcomes:
    def __init__(self, database: Database, lanes: Lanes, xrefs: Xrefs, alerts: AlertBook) -> None:
        self._db = database
        self._lanes = lanes
        self._xrefs = xrefs
        self._alerts = alerts

    def known(self, flow: str, intents: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Journal entries by intent: seq, state, fingerprint, target_id."""
        j = t.journal.c
        found: dict[str, Mapping[str, Any]] = {}
        with self._db.transaction() as tx:
            for start in range(0, len(intents), _CHUNK):
                query = select(j.intent, j.seq, j.state, j.fingerprint, j.target_id).where(
                    j.flow == flow, j.intent.in_(intents[start : start + _CHUNK])
                )
                found.update((entry["intent"], dict(entry)) for entry in tx.execute(query).mappings())
        return found

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
    ) -> Advanced:
        """Commit outcomes and intents.

        settled: lanes whose last record of this claim this is; they are given back. incidents: (seq, what to alert
        about). answered: the connection that took a record, which contradicts what is open against it.
        """
        rows = [*(one.row for one in endings), *(one.row for one in intents)]
        with self._db.transaction() as tx:
            ours = self._lanes.still_held(tx, held, {row.lane_id for row in rows if row.lane_id})
            lost = {row.seq for row in rows if row.lane_id and row.lane_id not in ours}
            mine = [one for one in endings if one.row.seq not in lost]
            now = self._db.time(tx)
            moved = self._end(tx, mine, now)
            waits = {one.row.lane_id: one.wait_secs for one in mine if one.wait_secs is not None and one.row.lane_id}
            closing = set(settled) | set(waits)
            if closing:
                self._lanes.settle(tx, held, closing, waits)
            if intents:
                lost |= self._intend(tx, [one for one in intents if one.row.seq not in lost], flow_hash, now)
            mishaps = [incident for seq, incident in incidents if seq not in lost]
            begun = self._alerts.note(tx, mishaps, answered=answered)
        return Advanced(lost, moved, begun)

    # -- intents ---------------------------------------------------------------------------------------------------

    def _intend(self, tx: Connection, intents: Sequence[Intent], flow_hash: str, now: float) -> set[int]:
        r, j, s = t.records.c, t.journal.c, t.sent.c
        if not intents:
            return set()
        seqs = [one.row.seq for one in intents]
        live = set(
            tx.execute(
                update(t.records)
                .where(r.seq.in_(seqs), t.is_open(r.state))
                .values(state="sent", attempts=r.attempts + 1, flow_hash=flow_hash, changed_at=now)
                .returning(r.seq)
            ).scalars()
        )
        going = [one for one in intents if one.row.seq in live]
        again = [{"b_flow": one.row.flow, "b_intent": one.key} for one in going if one.replaces]
        if again:
            which = (j.flow == bindparam("b_flow"), j.intent == bindparam("b_intent"))
            for one in again:
                self._keep_receipt(tx, one["b_flow"], one["b_intent"], now)
            tx.execute(delete(t.journal).where(*which), again)
        objects = [{"b_flow": one.row.flow, "b_object": one.object} for one in going if one.object]
        if objects:
            tx.execute(delete(t.sent).where(s.flow == bindparam("b_flow"), s.object == bindparam("b_object")), objects)
        if going:
            tx.execute(
                insert(t.journal),
                [
                    {
                        "flow": one.row.flow, "intent": one.key, "seq": one.row.seq, "state": "in_doubt",
                        "fingerprint": one.print_, "body": encode_json(one.body), "at": now,
                    }
                    for one in going
                ],
            )  # fmt: skip
        return set(seqs) - live

    @staticmethod
    def _keep_receipt(tx: Connection, flow: str, intent: str, now: float) -> None:
        """A later send under the same key takes the place of an earlier one; its receipt goes into the history."""
        j = t.journal.c
        query = select(j.seq, j.target_id, j.at, j.how).where(j.flow == flow, j.intent == intent, j.state == "done")
        for seq, target_id, at, how in tx.execute(query):
            detail = encode_json({"receipt": target_id, "how": how, "intent": intent, "at": round(at, 3)}).decode()
            tx.execute(insert(t.history).values(seq=seq, at=now, event="confirmed", detail=detail))

    # -- endings ---------------------------------------------------------------------------------------------------

    def _end(self, tx: Connection, endings: Sequence[Ending], now: float) -> list[Moved]:
        if not endings:
            return []
        self._journal(tx, endings, now)
        plain = [one.row.seq for one in endings if _is_plain(one)]
        r = t.records.c
        for start in range(0, len(plain), _CHUNK):
            part = plain[start : start + _CHUNK]
            tx.execute(
                update(t.records).where(r.seq.in_(part), t.is_open(r.state)).values(state="confirmed", changed_at=now)
            )
        rest = [one for one in endings if not _is_plain(one)]
        if rest:
            columns = list(_values(rest[0]))
            tx.execute(
                update(t.records)
                .where(r.seq == bindparam("b_seq"), t.among(r.state, *t.OPEN, "dead"))
                .values({name: bindparam(f"v_{name}") for name in columns} | {"changed_at": now}),
                [
                    {"b_seq": one.row.seq, **{f"v_{name}": value for name, value in _values(one).items()}}
                    for one in rest
                ],
            )
        self._close_older_letters(tx, endings, now)
        events = [
            {
                "seq": one.row.seq, "at": now, "event": one.event,
                "detail": encode_json(dict(one.detail or {})).decode(),
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

    @staticmethod
    def _journal(tx: Connection, endings: Sequence[Ending], now: float) -> None:
        j = t.journal.c
        which = (j.flow == bindparam("b_flow"), j.intent == bindparam("b_intent"))
        done = [
            {
                "b_flow": one.row.flow, "b_intent": one.intent, "b_target": one.receipt.id,
                "b_created": int(one.receipt.created), "b_how": one.how,
                "b_response": encode_json(dict(one.receipt.response)) if one.receipt.response else None,
            }
            for one in endings
            if one.journal == "done" and one.receipt is not None
        ]  # fmt: skip
        if done:
            tx.execute(
                update(t.journal).where(*which).values(
                    state="done", target_id=bindparam("b_target"), created=bindparam("b_created"),
                    how=bindparam("b_how"), response=bindparam("b_response"), at=now,
                ),
                done,
            )  # fmt: skip
        undone = [{"b_flow": one.row.flow, "b_intent": one.intent} for one in endings if one.journal == "forget"]
        if undone:
            tx.execute(delete(t.journal).where(*which), undone)

    def _close_older_letters(self, tx: Connection, endings: Sequence[Ending], now: float) -> None:
        """A confirmed version closes what is older of its key and not sent: dead letters, and those that a person
        replayed meanwhile (sent now, they would overwrite the newer one)."""
        r = t.records.c
        newest = {
            (one.row.flow, one.row.key): one.row for one in endings if one.state == "confirmed" and one.row.version
        }
        if not newest:
            return
        flow = next(iter(newest))[0]
        keys = sorted(key for _, key in newest)
        dead = tx.execute(
            select(r.seq, r.key, r.lane).where(
                r.flow == flow, r.key.in_(keys), r.version.is_not(None), t.among(r.state, "received", "dead")
            )
        ).all()
        for seq, key, lane in dead:
            row = newest[(flow, key)]
            if seq < row.seq:
                reason = f"version {row.version} was confirmed"
                tx.execute(
                    update(t.records).where(r.seq == seq).values(state="superseded", reason=reason, changed_at=now)
                )
                if lane != row.lane:
                    self._lanes.wake(tx, [(flow, lane)])


def _is_plain(one: Ending) -> bool:
    """Confirmed at the first try, with nothing to say: nearly all of them, so one statement does for many."""
    return (
        one.state == "confirmed" and one.reason is None and one.flag is None and one.row.error_class is None
        and one.row.queue is None and one.row.reason is None and one.row.body is None
    )  # fmt: skip


def _values(one: Ending) -> dict[str, Any]:
    failure = one.failure
    as_ran = one.state in t.OPEN and one.row.reason == AS_RAN  # a retry is still the same replay
    return {
        "state": one.state,
        "reason": AS_RAN if as_ran else one.reason,
        "attempts": one.row.attempts if one.attempts is None else one.attempts,
        "queue": one.queue,
        "flag": one.flag,
        "error_class": failure.error_class if failure else None,
        "error_field": failure.field if failure else None,
        "error_message": failure.message if failure else None,
        "error_help": failure.help if failure else None,
        "error_place": failure.place if failure else None,
        "body": encode_json(dict(one.body)) if one.body is not None else None,
        "flow_hash": one.flow_hash or one.row.flow_hash,
    }
