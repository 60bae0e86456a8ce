"""The model: the http connector over one object, with webhooks added. It keeps every promise."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from flowrun.connector import Event, EventInfo, Request, Secret, setting
from flowrun.errors import Refused, SignatureInvalid
from flowrun.testing.contract_suite import Reading, Receiving, Subject, Writing
from flowrun.testing.simulator import SimRequest, SimResponse, json_response
from flowrun_connectors.http.connector import Http, HttpSettings
from flowrun_connectors.http.simulator import OBJECTS, HttpSimulator

WEBHOOK_SECRET = "sim-model-webhook-secret"
ORDERS: Mapping[str, Any] = {
    **OBJECTS["orders"],
    "read": {**OBJECTS["orders"]["read"], "sorted": True, "paging": {"style": "cursor", "next": "next"}},
}


def sign(body: bytes, stamp: str) -> str:
    return hmac.new(WEBHOOK_SECRET.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class ModelSimulator(HttpSimulator):
    def __init__(self, objects: Mapping[str, Any] | None = None, **more: Any) -> None:
        super().__init__(objects or {"orders": ORDERS}, **more)

    def connection_settings(self) -> dict[str, Any]:
        return {**super().connection_settings(), "webhook_secret": WEBHOOK_SECRET}

    def error_in_200(self, request: SimRequest) -> SimResponse:
        return json_response({"order": {"errors": ["not accepted"]}})

    def signed_webhook(self, body: bytes, at: datetime) -> Request:
        stamp = str(int(at.timestamp()))
        headers = {"x-signature": sign(body, stamp), "x-timestamp": stamp}
        return Request("POST", "/hooks/model", headers, {}, body, at)


@dataclass(frozen=True)
class ModelSettings(HttpSettings):
    webhook_secret: Secret | None = setting("What webhooks are signed with.", default=None)


class Model(Http):
    Settings: ClassVar[type] = ModelSettings
    events: ClassVar[Mapping[str, EventInfo]] = {"order.placed": EventInfo("order.placed", "orders", thin=True)}

    def receive(self, request: Request) -> Sequence[Event]:
        self.prove(request)
        return self.parse(request)

    def prove(self, request: Request) -> None:
        wrong = SignatureInvalid("the signature does not hold")
        secret, stamp = self.settings.webhook_secret, request.headers.get("x-timestamp", "")
        given = request.headers.get("x-signature", "")
        if secret is None or not stamp.isdigit() or not given.isascii() or len(stamp) > 12:
            raise wrong
        good = hmac.compare_digest(sign(request.body, stamp), given)
        if not good or abs(request.received_at.timestamp() - int(stamp)) > 300:
            raise wrong

    def parse(self, request: Request) -> Sequence[Event]:
        try:
            body = json.loads(request.body, parse_float=Decimal)
        except (ValueError, RecursionError):
            raise Refused("not JSON") from None
        if not isinstance(body, dict) or "id" not in body:
            raise Refused("no event")
        return [Event("order.placed", "orders", {"id": str(body["id"])}, id=f"e-{body['id']}", thin=True)]


def fill(world: HttpSimulator, n: int) -> None:
    for _ in range(n):
        world.add("orders", reference=f"R{world._serial}", total=Decimal("10.50"))


def same_moment(world: HttpSimulator, n: int) -> None:
    for _ in range(n):
        world.add("orders", reference="same", updated_at="2026-05-04T10:00:02Z")


def count(world: HttpSimulator, n: int) -> int:
    return sum(1 for row in world.rows["orders"].values() if row.get("reference") == f"XC-{n}")


READ = Reading("orders", "id", fill, cursor="updated_at", same_moment=same_moment)
WRITE = Writing(
    "orders",
    "create",
    lambda world, n: {"reference": f"XC-{n}", "total": Decimal("1.10")},
    count,
    find=("reference",),
    refused=lambda world: {"status": "open"},
)
RECEIVE = Receiving(
    lambda world, at: world.signed_webhook(b'{"event":"placed","id":17}', at), signed=("x-signature", "x-timestamp")
)
SUBJECT = Subject(Model, ModelSimulator, READ, WRITE, RECEIVE)


def subject(cls: type, **more: Any) -> Subject:
    return replace(SUBJECT, cls=cls, **more)
