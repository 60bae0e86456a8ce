"""SAP Event Mesh: messages are pulled from a queue with QoS 1, and acknowledged once they are held.

Source: "Publish and Consume Events" and the REST samples of SAP's documentation: ``/messagingrest/v1``, ``x-qos``,
consumption and acknowledgement; queue and message id are one path segment each, percent-encoded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import quote

import httpx

from flowrun.connector import EventInfo, Health, ObjectInfo, Pulled, Request, setting
from flowrun.contract import Shape
from flowrun.errors import ConnectorError, NotFound, ProjectError, Unavailable
from flowrun.values import Clock
from flowrun_connectors._http.errors import classify

MOST_ID = 500  # characters of a message's id


@dataclass(frozen=True)
class EventMeshSettings:
    base_url: str = setting(
        "The uri of the service key's httprest entry.",
        example="https://enterprise-messaging-pubsub.cfapps.eu10.hana.ondemand.com",
    )
    queue: str = setting("The queue, with its namespace.", example="acme/shop/sync/orders")
    brings: str = setting("The connection whose events lie in the queue.", example="s4")


class EventMesh:
    """See README.md in this folder."""

    Settings: ClassVar[type] = EventMeshSettings
    title: ClassVar[str] = "SAP Event Mesh"
    simulator: ClassVar[str] = "flowrun_connectors.event_mesh.simulator:EventMeshSimulator"
    events: ClassVar[Mapping[str, EventInfo]] = {}
    error_classes: ClassVar[frozenset[str]] = frozenset(
        {"rate_limited", "network", "auth", "rejected", "not_found", "other"}
    )

    @classmethod
    def objects(cls, settings: Mapping[str, Any]) -> Mapping[str, ObjectInfo]:
        return {}

    @classmethod
    def object_info(cls, object: str, settings: Mapping[str, Any]) -> ObjectInfo | None:
        return None

    @classmethod
    def describe(cls, object: str, settings: Mapping[str, Any]) -> Shape | None:
        return None

    def __init__(self, settings: EventMeshSettings, http: httpx.Client, now: Clock) -> None:
        """Raises ProjectError for a queue that has no name of one."""
        if not settings.queue or settings.queue != settings.queue.strip("/ "):
            raise ProjectError("Event Mesh: queue is a name such as acme/shop/sync/orders, without a slash at its ends")
        self.settings = settings
        self.http = http
        self._now = now
        self._root = f"messagingrest/v1/queues/{quote(settings.queue, safe='')}/messages"

    @property
    def brings(self) -> str:
        return self.settings.brings

    def pull(self, limit: int) -> Sequence[Pulled]:
        """One call a message, as the broker offers no more, until the queue is empty. Raises ConnectorError only when
        nothing was pulled."""
        found: list[Pulled] = []
        while len(found) < limit:
            try:
                one = self._next()
            except ConnectorError:
                if not found:
                    raise
                break
            if one is None:
                break
            found.append(one)
        return found

    def acknowledge(self, tickets: Sequence[str]) -> None:
        """One that is not taken any more comes again, and is known then. Raises ConnectorError once all were tried."""
        failed: ConnectorError | None = None
        for ticket in tickets:
            try:
                answer = self._post(f"{self._root}/{quote(ticket, safe='')}/acknowledgement")
            except ConnectorError as error:
                failed = error
                continue
            if not answer.is_success and answer.status_code not in (400, 404, 409, 410):
                failed = classify(answer, writing=False)
        if failed is not None:
            raise failed

    def check(self) -> Health:
        try:
            one = self._next()
        except ConnectorError as error:
            return Health(False, f"{error.error_class}: {error.message}")
        return Health(True, f"{self.settings.queue} can be consumed; it is {'empty' if one is None else 'not empty'}")

    def _next(self) -> Pulled | None:
        answer = self._post(f"{self._root}/consumption")
        if answer.status_code == 204:
            return None
        if answer.status_code == 404:
            raise NotFound(f"there is no queue '{self.settings.queue}'", help="queue: with its namespace")
        if answer.status_code != 200:
            raise classify(answer, writing=False)
        ticket = answer.headers.get("x-message-id", "")
        if not 0 < len(ticket) <= MOST_ID:
            raise Unavailable("the broker's answer names no message")
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Pulled(ticket, Request("POST", self.settings.queue, headers, {}, answer.content, self._now()))

    def _post(self, path: str) -> httpx.Response:
        try:
            return self.http.post(path, headers={"x-qos": "1"})
        except httpx.HTTPError as error:
            raise classify(error, writing=False) from None
