"""From a request to what is to be held: whose it is, whether it is genuine, and which flows listen to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flowrun.connector import Event, Greets, Receiver, Reply, Request
from flowrun.errors import ProjectError, SignatureInvalid
from flowrun.flow.model import Webhook
from flowrun.runner import identified
from flowrun.service.deployment import Deployed
from flowrun.store.events import Arrival


class Hooks:
    """Pure: nothing is held here."""

    def __init__(self, flows: Iterable[Deployed], connections: Mapping[str, Any]) -> None:
        """Raises ProjectError for a flow that listens to a connection that receives nothing."""
        self._ears: dict[tuple[str, str], list[Deployed]] = {}
        self._doors: dict[str, Any] = {}
        self.flows: dict[str, Deployed] = {}
        """Those that listen, by name."""
        for one in flows:
            source = one.flow.source
            if not isinstance(source.trigger, Webhook):
                continue
            connector = connections[source.connection]
            if not isinstance(connector, Receiver):
                raise ProjectError(
                    f"flow '{one.flow.name}': connection '{source.connection}' receives no webhooks",
                    help="trigger: { poll: … }",
                )
            if source.group_by is not None:
                raise ProjectError(
                    f"flow '{one.flow.name}': a webhook brings one record, and groups need all rows of a group",
                    help="trigger: { poll: … }",
                )
            self._doors[source.connection] = connector
            self.flows[one.flow.name] = one
            self._ears.setdefault((source.connection, source.trigger.event), []).append(one)

    @property
    def connections(self) -> list[str]:
        """That have a door: ``POST /hooks/{connection}``."""
        return sorted(self._doors)

    def listening(self, connection: str, event: str) -> Sequence[Deployed]:
        return self._ears.get((connection, event), ())

    def greeting(self, connection: str, request: Request) -> Reply | None:
        """The answer to a sender that only asks whether this is the right door; None: it is no such question."""
        connector = self._doors.get(connection)
        return connector.greet(request) if isinstance(connector, Greets) else None

    def arrivals(self, connection: str, request: Request) -> tuple[list[Arrival], int]:
        """What a request brings for the flows that listen, and how many of its events nobody listens to.

        Raises SignatureInvalid, also for a connection that has no door: a stranger is not told which exist. Raises
        ConnectorError for a genuine request that cannot be read.
        """
        connector = self._doors.get(connection)
        if connector is None:
            raise SignatureInvalid("the webhook's signature does not hold")
        return self._heard(connection, connector.receive(request))

    def brought(self, connection: str, request: Request) -> tuple[list[Arrival], int]:
        """The same for a message that was pulled. Raises ConnectorError."""
        return self._heard(connection, self._doors[connection].understand(request))

    def _heard(self, connection: str, events: Sequence[Event]) -> tuple[list[Arrival], int]:
        found = [self._arrival(connection, event) for event in events]
        heard = [one for one in found if one is not None]
        return heard, len(found) - len(heard)

    def _arrival(self, connection: str, event: Event) -> Arrival | None:
        ears = self.listening(connection, event.name)
        if not ears:
            return None
        if event.thin:
            return Arrival(connection, event.id, event.name, event.object, thin=event.record)
        takers = [(one.flow.name, identified(one.plan, event.record)) for one in ears]
        return Arrival(connection, event.id, event.name, event.object, takers=takers)
