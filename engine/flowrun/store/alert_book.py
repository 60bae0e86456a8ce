"""Alerts as episodes: counted with the outcomes that cause them, told at most so often, over when nothing is left.

An episode is (channel, flow, connection, kind). ``note`` and ``settle`` run inside the transaction of an outcome and do
no I/O. ``due`` decides who is to be told what, and leaves it in the store until ``sent``: a notice is sent at least
once, under a name that stays the same.

Locks (PostgreSQL): incidents of one transaction are noted in one call, in the order of their identities, so two writers
never wait for each other in a circle. Everything else skips rows that somebody else holds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, exists, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as insert_on_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_on_sqlite

from flowrun.errors import ERROR_CLASSES
from flowrun.logs import redact
from flowrun.store import schema as t
from flowrun.store import statements as st
from flowrun.store.alert_rows import (
    FACTS,
    Alert,
    Example,
    Incident,
    Notice,
    Route,
    examples_text,
    facts_of,
    notice_of,
    stored_alert,
    told_of,
    with_example,
)
from flowrun.store.database import Database

CONNECTION_KINDS = ("network", "rate_limited", "auth", "refused", "reauthorise")
"""What tells of a system rather than of a record, and is contradicted by any call that succeeds."""
CREDENTIAL_KINDS = ("auth", "refused", "reauthorise", "expiring")
"""What a new credential ends."""

LEASE_SECS = 600.0  # a notice handed out and never reported on is handed out again
FIRST_WAIT_SECS = 30.0  # before a notice that failed is tried again; doubles
LONGEST_WAIT_SECS = 3600.0
MOST_TEXT = 500  # characters of a message
MOST_NAME = 200  # characters of a key, a flow, a channel

_OPEN_RECORDS = ("dead", *t.OPEN)


class AlertBook:
    def __init__(self, database: Database) -> None:
        self.database = database

    # -- inside the transaction of an outcome ----------------------------------------------------------------------

    def note(self, tx: Connection, incidents: Iterable[Incident], *, answered: str = "") -> list[Incident]:
        """Count incidents; called once a transaction, at its end. Returns those that begin an episode.

        An episode that was resolved is the same one again for as long as its channel may not be told anew. answered: a
        connection that took something in this transaction, which settles its troubles but those that are noted now.
        """
        merged: dict[tuple[str, str, str, str], list[Incident]] = {}
        for one in incidents:
            merged.setdefault(_clean(one).identity, []).append(_clean(one))
        begun = [same[-1] for identity, same in sorted(merged.items()) if self._note(tx, identity, same)]
        if answered:  # last, since whoever holds settled rows may not wait for others
            noted = {kind for _, _, connection, kind in merged if connection == answered}
            self.settle(tx, connection=answered, kinds=[kind for kind in CONNECTION_KINDS if kind not in noted])
        return begun

    def _note(self, tx: Connection, identity: tuple[str, str, str, str], same: Sequence[Incident]) -> bool:
        a, now = t.alerts.c, self.database.time(tx)
        names = dict(zip(("channel", "flow", "connection", "kind"), identity, strict=True))
        mine = and_(*(a[name] == value for name, value in names.items()))
        tx.execute(
            update(t.alerts)
            .where(mine, a.closed == 0, a.state == "resolved", a.next_notice_at <= now)
            .values(closed=a.id)
        )
        last = same[-1]
        message = self.database.cover.close(last.message, *told_of(*identity))
        times = sum(one.times for one in same)
        lasting = int(any(one.lasting for one in same))
        insert_ = insert_on_postgresql if tx.dialect.name == "postgresql" else insert_on_sqlite
        back = a.state == "resolved"
        statement = insert_(t.alerts).values(
            **names, closed=0, state="open", lasting=lasting, count=times, message=message, place=last.place,
            examples="[]", first_at=now, last_at=now, opened_at=now, told=0, told_count=0, next_notice_at=now, level=0,
        )  # fmt: skip
        statement = statement.on_conflict_do_update(
            index_elements=[*names, "closed"],
            set_={
                "state": "open",
                "lasting": case((a.lasting == 1, 1), else_=lasting),
                "count": a.count + times,
                "message": message,
                "place": last.place,
                "last_at": now,
                "opened_at": case((back, now), else_=a.opened_at),
                "level": case((back, 0), else_=a.level),
                "settled_at": None,
                "resolved_at": None,
            },
        )
        id_, count, kept = tx.execute(statement.returning(a.id, a.count, a.examples)).one()
        before = examples = tuple(Example(*one) for one in json.loads(kept))
        for one in same:
            examples = with_example(examples, Example(one.flow, one.owner, one.key))
        if examples != before:
            tx.execute(update(t.alerts).where(a.id == id_).values(examples=examples_text(examples)))
        return bool(count == times)

    def settle(
        self, tx: Connection, *, connection: str = "", flow: str = "", kinds: Sequence[str] = CONNECTION_KINDS
    ) -> None:
        """A success contradicts these troubles of a connection (or of a flow). ``due`` ends what is over.

        Where incidents are noted in the same transaction, ``note(…, answered=…)`` does both.

        Records' own classes need no call: they are over when no open record of the flow carries them.
        """
        a = t.alerts.c
        ids = st.TROUBLES.run(tx, connection=connection, flow=flow, names=list(kinds)).scalars().all()
        if ids:
            tx.execute(update(t.alerts).where(a.id.in_(ids)).values(settled_at=self.database.time(tx)))

    # -- what is to be told ----------------------------------------------------------------------------------------

    def due(self, routes: Mapping[str, Route], limit: int = 20) -> list[Notice]:
        """End what is over, decide who is told, and hand out notices to send: report each as sent or failed."""
        a = t.alerts.c
        with self.database.transaction() as tx:
            now = self.database.time(tx)
            query = select(t.alerts).where(a.state == "open").order_by(a.id)
            for row in tx.execute(query.with_for_update(skip_locked=True)).mappings().all():
                alert = stored_alert(row, self.database.cover)
                route = routes.get(alert.channel, Route())
                if self._is_over(tx, alert, now):
                    self._resolve(tx, alert, route, routes, now)
                elif alert.channel and not alert.acknowledged(now):
                    self._tell(tx, alert, route, routes, now)
            return self._claim(tx, now, limit)

    def _is_over(self, tx: Connection, alert: Alert, now: float) -> bool:
        r = t.records.c
        if not alert.lasting:  # a channel of no name is never told
            return (alert.count == alert.told_count or not alert.channel) and alert.next_notice_at <= now
        if alert.connection or alert.kind not in ERROR_CLASSES:
            if alert.settled_at is None:
                return False
            states: Sequence[str] = ("dead",)  # the system is back; what it cost may still need a person
        else:
            states = _OPEN_RECORDS
        return not tx.execute(select(exists().where(_carries(alert), r.state.in_(states)))).scalar()

    @staticmethod
    def _standing(tx: Connection, alert: Alert) -> int:
        r = t.records.c
        query = select(func.count()).select_from(t.records).where(_carries(alert), r.state.in_(_OPEN_RECORDS))
        return int(tx.execute(query).scalar_one())

    def _resolve(self, tx: Connection, alert: Alert, route: Route, routes: Mapping[str, Route], now: float) -> None:
        values = {"state": "resolved", "resolved_at": now, "told": 0}
        tx.execute(update(t.alerts).where(t.alerts.c.id == alert.id).values(**values))
        if not alert.told or not alert.lasting:
            return
        over = replace(alert, state="resolved", resolved_at=now)
        escalated = route.escalate_to if alert.level else ()
        for channel in _channels((alert.channel, *escalated), routes):
            self._put(tx, over, "resolved", channel, now)

    def _tell(self, tx: Connection, alert: Alert, route: Route, routes: Mapping[str, Route], now: float) -> None:
        a, changed = t.alerts.c, {}
        # A moment that is too far away was set by a clock that went wrong.
        in_time = alert.next_notice_at <= now or alert.next_notice_at > now + route.every_secs
        news = alert.count > alert.told_count and in_time
        after = route.escalate_after_secs
        stuck = after is not None and alert.lasting and not alert.level and alert.opened_at + after <= now
        if news or stuck:
            alert = replace(alert, standing=self._standing(tx, alert))
        if news:
            changed = {"told": 1, "told_count": alert.count, "next_notice_at": now + route.every_secs}
            for channel in _channels((alert.channel,), routes):
                self._put(tx, alert, "reminder" if alert.told else "opened", channel, now)
        if stuck:
            changed = {**changed, "level": 1, "told": 1}
            for channel in _channels(route.escalate_to, routes):
                self._put(tx, replace(alert, level=1), "escalated", channel, now)
        if changed:
            tx.execute(update(t.alerts).where(a.id == alert.id).values(**changed))

    def _put(self, tx: Connection, alert: Alert, event: str, channel: str, now: float) -> None:
        """A newer notice takes the place of one that still waits, so that a channel that was down is not flooded."""
        n = t.alert_notices.c
        mine = and_(n.alert == alert.id, n.channel == channel, n.state == "waiting")
        waiting = tx.execute(select(n.tries).where(mine)).scalars().all()
        if waiting:
            tx.execute(update(t.alert_notices).where(mine).values(state="replaced"))
            if event == "resolved" and not any(waiting):
                return  # it was never told there
        seed = f"{alert.id}\n{event}\n{channel}\n{alert.first_at!r}\n{alert.count}\n{now!r}"
        name = hashlib.sha256(seed.encode()).hexdigest()[:16]
        facts = self.database.cover.close(facts_of(alert), FACTS, name, channel)
        tx.execute(
            insert(t.alert_notices).values(
                alert=alert.id, name=name, event=event, channel=channel, facts=facts, state="waiting", due=now, tries=0,
                at=now,
            )
        )  # fmt: skip

    def _claim(self, tx: Connection, now: float, limit: int) -> list[Notice]:
        n = t.alert_notices.c
        query = (
            select(t.alert_notices)
            .where(n.state == "waiting", or_(n.due <= now, n.due > now + LONGEST_WAIT_SECS))
            .order_by(n.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        found = [notice_of(row, self.database.cover) for row in tx.execute(query).mappings()]
        if found:
            tx.execute(
                update(t.alert_notices)
                .where(n.id.in_([one.id for one in found]))
                .values(due=now + LEASE_SECS, tries=n.tries + 1)
            )
        return [replace(one, tries=one.tries + 1) for one in found]

    def sent(self, notice: Notice) -> None:
        with self.database.transaction() as tx:
            tx.execute(
                update(t.alert_notices)
                .where(t.alert_notices.c.id == notice.id)
                .values(state="sent", sent_at=self.database.time(tx), error=None)
            )

    def failed(self, notices: Sequence[Notice], words: str) -> None:
        """They could not be delivered; each is handed out again later, ever more rarely."""
        n = t.alert_notices.c
        with self.database.transaction() as tx:
            for one in notices:
                wait = min(LONGEST_WAIT_SECS, FIRST_WAIT_SECS * 2 ** min(one.tries - 1, 20))
                values = {"due": self.database.time(tx) + wait, "error": _text(redact(words), MOST_TEXT)}
                tx.execute(update(t.alert_notices).where(n.id == one.id, n.state == "waiting").values(**values))

    # -- for people ------------------------------------------------------------------------------------------------

    def acknowledge(self, id: int, who: str) -> Alert | None:
        """Silence an open alert for a day, or until it is twice as many. None when none of this number is open."""
        a = t.alerts.c
        with self.database.transaction() as tx:
            changed = tx.execute(
                update(t.alerts)
                .where(a.id == id, a.state == "open")
                .values(ack_at=self.database.time(tx), ack_by=who, ack_count=a.count)
            )
            if not changed.rowcount:
                return None
            alert = stored_alert(tx.execute(select(t.alerts).where(a.id == id)).mappings().one(), self.database.cover)
            what = f"{alert.connection or alert.flow} {alert.kind} #{id}, seen {alert.count} times"
            tx.execute(insert(t.audit).values(at=self.database.time(tx), who=who, action="alerts ack", detail=what))
        return alert

    def open(self) -> list[Alert]:
        """Open alerts, the oldest first."""
        return self._alerts(select(t.alerts).where(t.alerts.c.state == "open").order_by(t.alerts.c.id))

    def history(self, limit: int = 50) -> list[Alert]:
        """Resolved alerts, the last first."""
        a = t.alerts.c
        return self._alerts(select(t.alerts).where(a.state == "resolved").order_by(a.resolved_at.desc()).limit(limit))

    def get(self, id: int) -> Alert | None:
        found = self._alerts(select(t.alerts).where(t.alerts.c.id == id))
        return found[0] if found else None

    def _alerts(self, query: Any) -> list[Alert]:
        with self.database.transaction() as tx:
            found = [stored_alert(row, self.database.cover) for row in tx.execute(query).mappings().all()]
            return [replace(one, standing=self._standing(tx, one)) for one in found]

    def notices(self, alert: int | None = None, *, state: str | None = None) -> list[Notice]:
        """Notices, the oldest first: of one alert, or in one state (waiting, sent, replaced)."""
        n = t.alert_notices.c
        query = select(t.alert_notices).order_by(n.id)
        if alert is not None:
            query = query.where(n.alert == alert)
        if state is not None:
            query = query.where(n.state == state)
        with self.database.transaction() as tx:
            return [notice_of(row, self.database.cover) for row in tx.execute(query).mappings()]


def _carries(alert: Alert) -> ColumnElement[bool]:
    r = t.records.c
    return and_(r.flow.in_(alert.flows or (alert.flow,)), r.error_class == alert.kind)


def _channels(names: Iterable[str], routes: Mapping[str, Route]) -> list[str]:
    """The channels and all who also hear, each once."""
    found: dict[str, None] = {}
    todo = [name for name in names if name]
    while todo:
        name = todo.pop(0)
        if name not in found:
            found[name] = None
            todo += routes.get(name, Route()).also
    return list(found)


def _clean(one: Incident) -> Incident:
    """As the store can hold it: secrets masked, no control characters, of bounded length."""
    return replace(
        one,
        channel=_text(one.channel, MOST_NAME),
        kind=_text(one.kind, 40),
        message=_text(redact(one.message), MOST_TEXT),
        flow=_text(one.flow, MOST_NAME),
        connection=_text(one.connection, MOST_NAME),
        owner=_text(one.owner, MOST_NAME),
        key=_text(redact(one.key), MOST_NAME),
        place=_text(one.place, MOST_NAME),
    )


def _text(text: str, most: int) -> str:
    """One line. A NUL or half a surrogate pair would make the database refuse the whole outcome."""
    whole = text.encode("utf-8", "replace").decode("utf-8")
    line = " ".join("".join(c if c.isprintable() else " " for c in whole).split())
    return line if len(line) <= most else line[: most - 1] + "…"
