"""Webhooks of the compat profile: the signature over raw bytes, then the body.

``X-Webhook-Signature: v1,<base64 HMAC-SHA256(secret, id + "." + timestamp + "." + raw body)>``; several signatures may
stand there, a space between them, while the sender rotates its secret.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from flowrun.connector import Event, Request, Secret
from flowrun.errors import ConnectorError, Refused, SignatureInvalid
from flowrun_connectors._json import parse_json

WINDOW_SECS = 300  # that a webhook may be old, or ahead
MAX_BODY_BYTES = 1_000_000
MOST_SIGNATURES = 10  # in one header
LONGEST_ID = 200  # characters
NAMES = {"Order Placed": "order.placed", "Order Updated": "order.updated"}


def sign(secret: Secret, id_: str, timestamp: str, body: bytes) -> str:
    digest = hmac.new(secret.reveal().encode(), f"{id_}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def verify(request: Request, secrets: Sequence[Secret], now: datetime) -> str:
    """The webhook's id. Raises SignatureInvalid, with the same words for every reason."""
    headers = request.headers
    id_, timestamp = headers.get("x-webhook-id", ""), headers.get("x-webhook-timestamp", "")
    given = headers.get("x-webhook-signature", "").split(" ")
    plain = (
        0 < len(id_) <= LONGEST_ID
        and 0 < len(timestamp) <= 12
        and id_.isascii()
        and timestamp.isascii()
        and timestamp.isdigit()
        and len(given) <= MOST_SIGNATURES
        and len(request.body) <= MAX_BODY_BYTES
    )
    good = False
    if plain:
        for secret in secrets:  # every secret and signature is tried, so the time tells nothing
            right = sign(secret, id_, timestamp, request.body).encode()
            for one in given:
                good |= hmac.compare_digest(right, one.encode("utf-8", "surrogateescape"))
    if not good or abs(now.timestamp() - int(timestamp)) > WINDOW_SECS:
        raise SignatureInvalid("the webhook's signature does not hold")
    return id_


def parse(request: Request, id_: str) -> list[Event]:
    """The event, thin: what it says of the order is a hint, the order is read back. Raises Refused for a body that is
    no event."""
    try:
        body: Any = parse_json(request.body)
    except ConnectorError as error:
        raise Refused(f"the webhook cannot be read: {error.message}") from None
    if not isinstance(body, dict):
        raise Refused("the webhook's body is not an object")
    name = NAMES.get(str(body.get("event")))
    if name is None:
        raise Refused(f"the webhook's event is unknown: {str(body.get('event'))[:40]!r}", field="event")
    number = _number(body.get("orderid"))
    if number is None:
        raise Refused("the webhook names no order", field="orderid")
    record = {"order_id": number, "customer_id": _number(body.get("customerid"))}
    return [Event(name, "orders", record, id_, thin=True)]


def _number(value: Any) -> str | None:
    """A row's number as text; None for what is none (true is an int to Python)."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return text if text.isascii() and text.isdigit() else None
