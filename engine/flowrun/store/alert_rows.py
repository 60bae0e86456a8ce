"""What the alert book speaks in: incidents as they are noted, alerts, routes, and notices to send."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from flowrun.store.cover import Cover

ACK_SECS = 24 * 3600.0  # how long an acknowledgement silences, unless the count doubles
FACTS = "alert_notices.facts"
"""Where a notice is closed for, with its name and channel."""
EXAMPLES = 5  # kept of an alert: the first of each flow, then the first keys


@dataclass(frozen=True, slots=True)
class Incident:
    """One thing that went wrong.

    With a connection it is that system's trouble, whatever flow met it: one alert for all of them. Without, it is the
    records' of its flow. kind: an error class, or another trouble such as ``expiring``. times: how often, where a
    batch is noted at once. lasting: False when nothing is left to do (``finish: success``): it is told, and ends.
    """

    channel: str
    kind: str
    message: str
    flow: str = ""
    connection: str = ""
    owner: str = ""
    key: str = ""
    place: str = ""
    times: int = 1
    lasting: bool = True

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """(channel, flow, connection, kind)"""
        return self.channel, "" if self.connection else self.flow, self.connection, self.kind


@dataclass(frozen=True, slots=True)
class Route:
    """Who hears of a channel's alerts. also: from the start. every_secs: at most one notice in this time.
    escalate_to: who hears of it when nobody has acknowledged or mended it after ``escalate_after_secs``."""

    also: tuple[str, ...] = ()
    every_secs: float = 3600.0
    escalate_after_secs: float | None = None
    escalate_to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Example:
    flow: str
    owner: str
    key: str


@dataclass(frozen=True, slots=True)
class Alert:
    """An episode. first_at: when it began; opened_at: later than that when it had been resolved and came back.
    told: whether the channels believe that it is open. level: 1 once it was escalated. standing: open records that
    carry the class now (None: not counted)."""

    id: int
    channel: str
    flow: str
    connection: str
    kind: str
    state: str
    lasting: bool
    count: int
    message: str
    place: str
    examples: tuple[Example, ...]
    first_at: float
    last_at: float
    opened_at: float
    settled_at: float | None
    resolved_at: float | None
    told: bool
    told_count: int
    next_notice_at: float
    level: int
    ack_count: int | None
    ack_at: float | None
    ack_by: str | None
    standing: int | None = None

    @property
    def flows(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.flow for one in self.examples if one.flow))

    @property
    def owners(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.owner for one in self.examples if one.owner))

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.key for one in self.examples if one.key))

    def acknowledged(self, now: float) -> bool:
        """Somebody has it in hand: for a day, and until it is twice as many."""
        if self.ack_at is None or self.ack_count is None:
            return False
        return 0 <= now - self.ack_at < ACK_SECS and self.count < 2 * self.ack_count


@dataclass(frozen=True, slots=True)
class Notice:
    """A message about an alert to one channel. name: the same however often it is sent. event: opened, reminder,
    escalated, resolved. alert: as it was when the notice became due."""

    id: int
    name: str
    event: str
    channel: str
    alert: Alert
    state: str
    tries: int
    at: float
    due: float
    error: str | None = None
    sent_at: float | None = None


def told_of(channel: str, flow: str, connection: str, kind: str) -> tuple[str, ...]:
    """Where an alert's message is closed for."""
    return "alerts.message", channel, flow, connection, kind


def stored_alert(row: Any, cover: Cover) -> Alert:
    """row: of the table, as a mapping."""
    alert = alert_of(row)
    where = told_of(alert.channel, alert.flow, alert.connection, alert.kind)
    return replace(alert, message=cover.open_text(alert.message, *where))


def alert_of(row: Any) -> Alert:
    """row: a mapping from field to value."""
    values = {name: row[name] for name in Alert.__slots__ if name in row}
    values["examples"] = tuple(Example(*one) for one in json.loads(row["examples"]))
    values["lasting"], values["told"] = bool(row["lasting"]), bool(row["told"])
    return Alert(**values)


def facts_of(alert: Alert) -> str:
    """An alert as text; ``alert_of(json.loads(…))`` reads it back."""
    values = {name: getattr(alert, name) for name in Alert.__slots__}
    values["examples"] = examples_text(alert.examples)
    return json.dumps(values, ensure_ascii=False)


def examples_text(examples: tuple[Example, ...]) -> str:
    return json.dumps([[one.flow, one.owner, one.key] for one in examples], ensure_ascii=False)


def with_example(examples: tuple[Example, ...], new: Example) -> tuple[Example, ...]:
    """At most ``EXAMPLES``; a flow that is not among them yet takes the place of a further key of another."""
    if new in examples or not (new.flow or new.key):
        return examples
    if len(examples) < EXAMPLES:
        return (*examples, new)
    flows = [one.flow for one in examples]
    if new.flow in flows:
        return examples
    spare = next((i for i in range(len(flows) - 1, 0, -1) if flows[i] in flows[:i]), None)
    return examples if spare is None else (*examples[:spare], *examples[spare + 1 :], new)


def notice_of(row: Any, cover: Cover) -> Notice:
    facts = cover.open_text(row["facts"], FACTS, row["name"], row["channel"])
    values = {name: row[name] for name in Notice.__slots__ if name != "alert"}
    return Notice(**values, alert=alert_of(json.loads(facts)))
