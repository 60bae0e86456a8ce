"""A store on SQLite and on PostgreSQL, by a clock that the test moves, and a channel that notes what it is given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from flowrun.alerts import Told, send_due
from flowrun.alerts.webhook import NotSent
from flowrun.store import Ending, Failure, Incoming, Store, open_store
from flowrun.store.alert_book import AlertBook
from flowrun.store.alert_rows import Incident, Notice, Route


class Clock:
    def __init__(self) -> None:
        self.at = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def on(self, **span: float) -> None:
        self.at += timedelta(**span)


@dataclass
class Channels:
    """Takes every notice but those of the channels that are down."""

    routes: dict[str, Route] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)
    heard: list[Notice] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def send(self, notice: Notice) -> None:
        self.asked.append(notice.channel)
        if notice.channel in self.down:
            raise NotSent("nobody is there")
        self.heard.append(notice)


class World:
    def __init__(self, store: Store, clock: Clock) -> None:
        self.store, self.clock = store, clock
        self.channels = Channels()

    @property
    def book(self) -> AlertBook:
        return self.store.alerts

    def note(self, *incidents: Incident) -> list[Incident]:
        with self.store.transaction() as tx:
            return self.book.note(tx, incidents)

    def settle(self, connection: str = "s4", **more: Any) -> None:
        with self.store.transaction() as tx:
            self.book.settle(tx, connection=connection, **more)

    def pump(self) -> list[tuple[str, str]]:
        """(event, channel) of what was heard now."""
        before = len(self.channels.heard)
        self.told: Told = send_due(self.book, self.channels)
        return [(one.event, one.channel) for one in self.channels.heard[before:]]

    def bury(self, key: str, error_class: str = "bad_data", flow: str = "orders") -> Any:
        """A record that became a dead letter."""
        self.store.inbox.add(flow, [Incoming(key, None, key, {"id": key})])
        held = self.store.lanes.claim(flow, 10, "w")
        row = next(row for row in held.rows if row.key == key)
        ending = Ending(row, "dead", failure=Failure(error_class, "no"), queue="q")
        self.store.outcomes.advance(held, [ending], settled=[row.lane_id])
        self.store.lanes.release(held)
        return row

    def discard(self, *rows: Any) -> None:
        self.store.letters.discard(list(rows), "given up", "anna")


@pytest.fixture(autouse=True)
def quiet_logs() -> Iterator[None]:
    """A command configures the log to write where the test runner looked at that moment."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def world(store_place: Path | str) -> Iterator[World]:
    clock = Clock()
    store = open_store(store_place, now=clock)
    yield World(store, clock)
    store.close()
