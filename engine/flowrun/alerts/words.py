"""What an alert says: what happened, to how many, since when, who answers for it, and the next command to type.

Plain text only. ``text`` is for letters and screens; ``inert`` for chat windows that would take < and & for markup.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flowrun.errors import ERROR_CLASSES
from flowrun.store.alert_rows import Alert, Notice

_RECORDS: Mapping[str, tuple[str, str]] = {
    "bad_data": ("record cannot be mapped", "records cannot be mapped"),
    "rejected": ("record was refused by the target", "records were refused by the target"),
    "duplicate": ("record is at the target already", "records are at the target already"),
    "not_found": ("record has no object at the target", "records have no object at the target"),
    "conflict": ("record is in conflict at the target", "records are in conflict at the target"),
    "unknown_outcome": ("send got no clear answer", "sends got no clear answer"),
    "network": ("record met a system that cannot be reached", "records met a system that cannot be reached"),
    "rate_limited": ("record met a system that asks to slow down", "records met a system that asks to slow down"),
    "auth": ("record met a system that refuses us", "records met a system that refuses us"),
    "difference": ("comparison found that both sides differ", "comparisons found that both sides differ"),
    "other": ("failure", "failures"),
}
_SYSTEMS: Mapping[str, str] = {
    "network": "cannot be reached",
    "rate_limited": "asks us to slow down",
    "auth": "refuses our credentials",
    "refused": "refuses our credential",
    "reauthorise": "needs a person to authorise us again",
    "expiring": "has a credential that will soon expire",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where the store is that alerts come from. environment: as ``--env`` takes it, or ""."""

    project: str = ""
    environment: str = ""

    def command(self, *words: str) -> str:
        env = ("--env", self.environment) if self.environment else ()
        return "flowrun " + shlex.join((*words, *env))


def subject(alert: Alert) -> str:
    """What happened, to how many, in one line."""
    if alert.connection:
        words = _SYSTEMS.get(alert.kind, "cannot be read")
        waiting = f"; {_waiting(alert.standing)}" if alert.standing else ""
        return f"{alert.connection} {words} ({alert.kind}){waiting}"
    if alert.kind == "drift":
        return f"{alert.flow}: what arrives has changed its shape (drift)"
    one, many = _RECORDS.get(alert.kind, ("case", "cases"))
    number = alert.standing or alert.count
    return f"{alert.flow}: {number:,} {one if number == 1 else many} ({alert.kind})"


def title(notice: Notice, place: Place) -> str:
    """The subject of a notice, with where it comes from."""
    where = " ".join(filter(None, ("flowrun", place.project, place.environment)))
    return f"[{where}] {_news(notice)}"


def _news(notice: Notice) -> str:
    alert = notice.alert
    if notice.event == "resolved":
        lasted = span((alert.resolved_at or notice.at) - alert.first_at)
        return f"resolved: {alert.connection or alert.flow}: {alert.kind} is over ({_times(alert)} in {lasted})"
    if notice.event == "escalated":
        return f"nobody has acted for {span(notice.at - alert.opened_at)}: {subject(alert)}"
    if notice.event == "test":
        return "a test notice"
    if notice.event == "reminder":
        return f"still: {subject(alert)}"
    return subject(alert) if alert.told_count == 0 else f"again: {subject(alert)}"


def next_command(alert: Alert, place: Place) -> str:
    """The command that brings the reader on."""
    if not alert.id:
        return place.command("alerts", "list")
    if alert.connection:
        return place.command("connections", "check", alert.connection)
    if alert.kind == "drift":
        return place.command("drift", alert.flow)
    if alert.kind == "difference":
        return place.command("reconcile", alert.flow)
    if alert.lasting and alert.kind in ERROR_CLASSES:
        return place.command("dlq", "list", "--flow", alert.flow)
    return place.command("alerts", "show", str(alert.id))


def text(notice: Notice, place: Place) -> str:
    """The whole notice, one fact a line."""
    return "\n".join((title(notice, place), *lines(notice.alert, place)))


def lines(alert: Alert, place: Place) -> list[str]:
    return [f"  {name + ':':<9}{value}" for name, value in _facts(alert, place) if value]


def _facts(alert: Alert, place: Place) -> list[tuple[str, str]]:
    over = alert.resolved_at is not None
    since = moment(alert.first_at)
    if alert.last_at != alert.first_at:
        since += f", last {moment(alert.last_at)}"
    if alert.resolved_at is not None:
        since += f", over {moment(alert.resolved_at)}"
    left = f"{_waiting(alert.standing)} for a retry or a person" if alert.standing and not over else ""
    return [
        ("what", alert.message),
        ("count", _counted(alert)),
        ("left", left),
        ("since", since),
        ("owner", ", ".join(alert.owners)),
        ("place", "" if over else alert.place),
        ("next", "" if over else next_command(alert, place)),
        ("quiet", "" if over or not alert.lasting else place.command("alerts", "ack", str(alert.id))),
    ]


def _waiting(number: int) -> str:
    return "1 record waits" if number == 1 else f"{number:,} records wait"


def _counted(alert: Alert) -> str:
    flows = f" in {', '.join(alert.flows)}" if alert.connection and alert.flows else ""
    keys = f", such as {', '.join(alert.keys)}" if alert.keys else ""
    return _times(alert) + flows + keys


def _times(alert: Alert) -> str:
    return f"{alert.count:,} time{'s' * (alert.count != 1)}"


def payload(notice: Notice, place: Place, channel: str) -> dict[str, Any]:
    """A notice as JSON: facts by name, and ``text`` for windows that show no more than that."""
    alert = notice.alert
    return {
        "id": notice.name,
        "event": notice.event,
        "alert": alert.id,
        "project": place.project,
        "environment": place.environment,
        "channel": channel,
        "flow": alert.flow,
        "connection": alert.connection,
        "error_class": alert.kind,
        "owners": list(alert.owners),
        "title": _news(notice),
        "message": alert.message,
        "count": alert.count,
        "standing": alert.standing,
        "examples": [{"flow": one.flow, "key": one.key} for one in alert.examples],
        "place": alert.place,
        "since": _iso(alert.first_at),
        "last": _iso(alert.last_at),
        "resolved": _iso(alert.resolved_at) if alert.resolved_at is not None else None,
        "next": next_command(alert, place),
        "text": inert(text(notice, place)),
    }


def inert(words: str) -> str:
    """No markup, no mention, no link under another name: chat services take these three characters as text so."""
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def span(secs: float) -> str:
    """``45 s``, ``12 min``, ``3 h 5 min``, ``2 d 4 h``."""
    whole = max(0, int(secs))
    for unit, size, lower, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {lower}" if rest else "")
    return f"{whole // 60} min" if whole >= 60 else f"{whole} s"
