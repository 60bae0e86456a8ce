"""Raising and settling, inside the transaction of the outcome: no I/O, and nothing that could cost a record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import Connection

from flowrun.errors import ERROR_CLASSES, ConnectorError, GuardStopped
from flowrun.flow.model import Flow
from flowrun.logs import log
from flowrun.store import Store
from flowrun.store.alert_book import CONNECTION_KINDS, CREDENTIAL_KINDS
from flowrun.store.alert_rows import Incident


def raise_alert(store: Store, tx: Connection, *incidents: Incident) -> None:
    """Count what went wrong; what begins an episode is logged. Once a transaction, at its end, with all of it."""
    say_begun(store.alerts.note(tx, map(placed, incidents)))


def say_begun(begun: Iterable[Incident]) -> None:
    """One line in the log for what begins an episode."""
    for one in begun:
        facts = {"flow": one.flow, "connection": one.connection, "owner": one.owner}
        named = {name: value for name, value in facts.items() if value}
        log().warning("alert", channel=one.channel, error_class=one.kind, message=one.message, **named)


def placed(one: Incident) -> Incident:
    """Of a record that failed at a connection, only the classes that tell of a system are the connection's; every other
    is the record's own."""
    return replace(one, connection="") if one.key and one.kind not in CONNECTION_KINDS else one


def settled(store: Store, tx: Connection, connection: str, kinds: Sequence[str] = CONNECTION_KINDS) -> None:
    """A call succeeded through this connection: it is there, takes us, and lets us go on. Once a transaction.

    kinds: after a whole reading pass, ``ERROR_CLASSES``, since reading raises them all.
    """
    store.alerts.settle(tx, connection=connection, kinds=kinds)


def trouble(
    store: Store,
    tx: Connection,
    connection: str,
    kind: str,
    words: str,
    *,
    channels: Sequence[str],
    expires_at: datetime | None = None,
) -> None:
    """A credential is in trouble, said before any flow stalls over it. Ends with ``renewed``.

    kind: ``expiring`` (works now, not for long), ``refused`` (a definite no), ``reauthorise`` (a person must say yes);
    the last two also end when a call succeeds. channels: see ``channels_of``; with none it is listed only.
    """
    kind = "auth" if kind == "refused" else kind  # what the records' own failures say: one alert, not two
    until = f"; it expires {expires_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if expires_at is not None else ""
    raise_alert(store, tx, *(Incident(name, kind, words + until, connection=connection) for name in channels or ("",)))


def renewed(store: Store, tx: Connection, connection: str) -> None:
    """There is a new credential, and it was taken."""
    store.alerts.settle(tx, connection=connection, kinds=CREDENTIAL_KINDS)


def channels_of(connection: str, flows: Iterable[Flow]) -> list[str]:
    """Who hears of a connection's credentials: whom the flows that use it name for class ``auth``."""
    found: dict[str, None] = {}
    for flow in flows:
        used = (flow.source.connection, flow.target.connection, *(one.connection for one in flow.lookups.values()))
        policy = flow.on_error.get("auth") or flow.on_error.get("other")
        if connection in used and policy is not None and policy.alert:
            found[policy.alert] = None
    return list(found)


def hears(store: Store, flows: Sequence[Flow]) -> Callable[[str, str, str, datetime | None], None]:
    """What a credential says before a flow stalls over it becomes an alert for whom the flows name for class auth.
    The function takes (connection, kind, words, expires_at)."""

    def hear(connection: str, kind: str, words: str, expires_at: datetime | None) -> None:
        with store.transaction() as tx:
            channels = channels_of(connection, flows)
            trouble(store, tx, connection, kind, words, channels=channels, expires_at=expires_at)

    return hear


def unread(store: Store, flow: Flow, error: ConnectorError, connection: str = "") -> None:
    """The source could not be read: an alert of its connection, where the flow has one for this class.

    connection: another one that brings its events.
    """
    policy = flow.on_error.get(error.error_class) or flow.on_error.get("other")
    if policy is None or not policy.alert:
        return
    with store.transaction() as tx:
        raise_alert(
            store, tx,
            Incident(policy.alert, error.error_class, error.message, flow=flow.name,
                     connection=connection or flow.source.connection, owner=flow.owner),
        )  # fmt: skip


def guarded(store: Store, flow: Flow, stopped: GuardStopped) -> None:
    """An alert for whom the flow names for what no other class covers."""
    policy = flow.on_error.get("other")
    if policy is not None and policy.alert:
        with store.transaction() as tx:
            raise_alert(store, tx, Incident(policy.alert, "guard", stopped.message, flow=flow.name, owner=flow.owner))


def differs(store: Store, flow: Flow, words: str) -> None:
    """Both sides were compared and are not alike: an alert for whom the flow names for what no other class covers;
    with none it is listed only. Ends with ``agrees``."""
    policy = flow.on_error.get("other")
    channel = policy.alert if policy is not None and policy.alert else ""
    with store.transaction() as tx:
        raise_alert(store, tx, Incident(channel, "difference", words, flow=flow.name, owner=flow.owner))


def agrees(store: Store, flow: Flow) -> None:
    """Both sides were compared and are alike."""
    with store.transaction() as tx:
        store.alerts.settle(tx, flow=flow.name, kinds=("difference",))


def passed(store: Store, flow: Flow, *, read: bool) -> None:
    """A whole pass went well, which ends what was said of its source (when it was read) and of the flow's guard."""
    with store.transaction() as tx:
        if read:
            settled(store, tx, flow.source.connection, ERROR_CLASSES)
        if flow.target.guard is not None:
            store.alerts.settle(tx, flow=flow.name, kinds=("guard",))
