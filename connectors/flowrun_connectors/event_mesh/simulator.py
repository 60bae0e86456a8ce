"""A simulated Event Mesh: a queue over REST, at least once. A message that is not acknowledged is seen again after a while,
and goes to the dead messages after too many times."""

from __future__ import annotations

import base64
import re
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import unquote

from flowrun.testing.simulator import SimRequest, SimResponse, Simulator, json_response
from flowrun.values import encode_json

CLIENT_ID, CLIENT_SECRET = "sim-mesh-client", "sim-mesh-secret"
_PATH = re.compile(r"/messagingrest/v1/queues/([^/]+)/messages/(?:(consumption)|([^/]+)/(acknowledgement))")


@dataclass(slots=True)
class _Message:
    id: str
    body: bytes
    visible_at: datetime
    given: int = 0


class EventMeshSimulator(Simulator):
    """hidden_secs: until a message that nobody acknowledged is seen again. most: deliveries of one, then it is dead."""

    name: ClassVar[str] = "event_mesh"

    def __init__(
        self, queue: str = "acme/shop/sync/orders", *, hidden_secs: float = 60, most: int = 10, **more: Any
    ) -> None:
        super().__init__(**more)
        self.queue = queue
        self.hidden_secs = hidden_secs
        self.most = most
        self.token_secs = 43199
        self.waiting: deque[_Message] = deque()
        self.dead: list[bytes] = []
        self.acknowledged: list[str] = []
        self._tokens: dict[str, datetime] = {}

    @classmethod
    def for_settings(cls, settings: Mapping[str, Any]) -> EventMeshSimulator:
        return cls(str(settings.get("queue") or "acme/shop/sync/orders"))

    def connection_settings(self) -> dict[str, Any]:
        auth = {"token_url": f"{self.base_url}/oauth/token", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        return {
            "base_url": self.base_url, "queue": self.queue, "brings": "s4", "auth": {"oauth2_client_credentials": auth},
        }  # fmt: skip

    def publish(self, *events: Any) -> None:
        """Events (JSON values, or bytes as they are) into the queue."""
        with self.lock:
            for one in events:
                body = one if isinstance(one, bytes) else encode_json(one)
                self.waiting.append(_Message(f"0#{uuid.uuid4().hex}/1", body, self.now()))

    def expire_tokens(self) -> None:
        self._tokens.clear()

    def handle(self, request: SimRequest) -> SimResponse:
        if request.path == "/oauth/token":
            return self._token(request)
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._tokens.get(token, self.now()) <= self.now():
            return json_response({"error": {"code": "UNAUTHORIZED", "message": "token is invalid"}}, 401)
        found = _PATH.fullmatch(request.raw_path)
        if found is None or request.method != "POST":
            return json_response({"error": {"code": "NOT_FOUND", "message": "no such path"}}, 404)
        if unquote(found[1]) != self.queue:
            return json_response({"error": {"code": "NOT_FOUND", "message": "queue does not exist"}}, 404)
        if request.headers.get("x-qos") not in ("0", "1"):
            return json_response({"error": {"code": "BAD_REQUEST", "message": "x-qos is invalid"}}, 400)
        return self._consume(request.headers["x-qos"]) if found[2] else self._acknowledge(unquote(found[3]))

    def _token(self, request: SimRequest) -> SimResponse:
        coded = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {coded}":
            return json_response({"error": "invalid_client"}, 401)
        token = uuid.uuid4().hex
        self._tokens[token] = self.now() + timedelta(seconds=self.token_secs)
        return json_response({"access_token": token, "token_type": "bearer", "expires_in": self.token_secs})

    def _consume(self, qos: str) -> SimResponse:
        now = self.now()
        for message in list(self.waiting):
            if message.visible_at > now:
                continue
            if message.given >= self.most:
                self.waiting.remove(message)
                self.dead.append(message.body)
                continue
            message.given += 1
            message.visible_at = now + timedelta(seconds=self.hidden_secs)
            if qos == "0":
                self.waiting.remove(message)
            head = {"content-type": "application/cloudevents+json", "x-message-id": message.id}
            return SimResponse(200, message.body, head)
        return SimResponse(204)

    def _acknowledge(self, id_: str) -> SimResponse:
        for message in self.waiting:
            if message.id == id_:
                self.waiting.remove(message)
                self.acknowledged.append(id_)
                return SimResponse(204)
        return json_response({"error": {"code": "NOT_FOUND", "message": "message is not known"}}, 404)
