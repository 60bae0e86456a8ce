"""Webhooks of the compat profile: the signature over raw bytes, then the body.

``X-Webhook-Signature: v1,<base64 HMAC-SHA256(secret, id + "." + timestamp + "." + raw body)>``
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from flowrun.connector import Event, Request, Secret
from flowrun.errors import Refused, SignatureInvalid

WINDOW = 300  # seconds that a webhook may be old, or ahead
MAX_BODY = 1_000_000  # bytes
NAMES = {"Order Placed": "order.placed", "Order Updated": "order.updated"}


def sign(secret: Secret, id_: str, timestamp: str, body: bytes) -> str:
    digest = hmac.new(secret.reveal().encode(), f"{id_}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def verify(request: Request, secrets: Sequence[Secret]) -> str:
    """The webhook's id. Raises SignatureInvalid, with the same words for every reason."""
    headers = request.headers
    id_, timestamp = headers.get("x-webhook-id", ""), headers.get("x-webhook-timestamp", "")
    given = headers.get("x-webhook-signature", "")
    wrong = SignatureInvalid("the webhook's signature does not hold")
    if not id_ or not (timestamp.isascii() and timestamp.isdigit()) or len(timestamp) > 12 or not given.isascii():
        raise wrong
    good = False
    for secret in secrets:  # every secret is tried, so the time tells nothing
        for one in given.split(" "):
            good |= hmac.compare_digest(sign(secret, id_, timestamp, request.body), one)
    if not good or abs(request.received_at.timestamp() - int(timestamp)) > WINDOW:
        raise wrong
    return id_


def parse(request: Request, id_: str) -> list[Event]:
    """Raises Refused for a body that is no event."""
    if len(request.body) > MAX_BODY:
        raise Refused("the webhook is larger than 1 MB")
    try:
        body: Any = json.loads(request.body, parse_float=Decimal)
    except (ValueError, RecursionError):
        raise Refused("the webhook's body is not JSON") from None
    if (
        not isinstance(body, dict)
        or not isinstance(body.get("orderid"), int | str)
        or isinstance(body.get("orderid"), bool)
    ):
        raise Refused("the webhook names no order", field="orderid")
    name = NAMES.get(str(body.get("event")))
    if name is None:
        raise Refused(f"the webhook's event is unknown: {str(body.get('event'))[:40]!r}", field="event")
    record = {
        "order_id": str(body["orderid"]),
        "customer_id": None if body.get("customerid") is None else str(body["customerid"]),
    }
    return [Event(name, "orders", record, id_, thin=True)]
