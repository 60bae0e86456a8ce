"""What SAP Event Mesh does with a webhook subscription: the handshake, then S/4HANA's events, at least once."""

from __future__ import annotations

import base64
import random
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import httpx

from flowrun.values import encode_json

ORIGIN = "eventmesh.integration.cloud.sap"
SOURCE = "/default/sap.s4.beh/DEVCLNT001"


class EventMesh:
    """user, password: of the subscription's ``securitySchema``. handshake: its state, as SAP names them."""

    def __init__(self, url: str, user: str, password: str, now: Callable[[], datetime]) -> None:
        self.url = url
        self.handshake = "Not Initiated"
        self._now = now
        coded = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"authorization": f"Basic {coded}"}

    def shake_hands(self) -> str:
        with httpx.Client(trust_env=False, timeout=10) as client:
            answer = client.options(self.url, headers={**self._headers, "WebHook-Request-Origin": ORIGIN})
        allowed = answer.headers.get("webhook-allowed-origin")
        self.handshake = "Completed" if answer.is_success and allowed in (ORIGIN, "*") else "Failed"
        return self.handshake

    def event(self, type_: str, **data: str) -> dict[str, Any]:
        """type_: such as ``SalesOrder.Created``. data: what the event names."""
        name, _, change = type_.partition(".")
        return {
            "type": f"sap.s4.beh.{name.lower()}.v1.{name}.{change}.v1", "specversion": "1.0", "source": SOURCE,
            "id": str(uuid.uuid4()), "time": self._now().isoformat(), "datacontenttype": "application/json",
            "data": data,
        }  # fmt: skip

    def push(self, events: Sequence[dict[str, Any]], *, copies: int = 1, seed: int | None = None) -> list[int]:
        """Each event in a request of its own; the statuses of the answers. seed: shuffled.

        Raises RuntimeError while the handshake is not completed, since nothing is delivered then.
        """
        if self.handshake != "Completed":
            raise RuntimeError(f"handshake: {self.handshake}")
        todo = [one for one in events for _ in range(copies)]
        if seed is not None:
            random.Random(seed).shuffle(todo)  # noqa: S311 - an order, no secret
        head = {**self._headers, "content-type": "application/cloudevents+json"}
        with httpx.Client(trust_env=False, timeout=10) as client:
            return [client.post(self.url, content=encode_json(one), headers=head).status_code for one in todo]
