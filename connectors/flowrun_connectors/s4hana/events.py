"""Business events of S/4HANA, as SAP Event Mesh pushes them: CloudEvents 1.0 that name a document and nothing more.

Source: SAP's event definitions (type names and data fields), "Handshake and Its Status" and "Create a Webhook
Subscription" of the Event Mesh documentation. Event Mesh signs nothing; a sender is known by the credentials that the
subscription's ``securitySchema`` sends along.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowrun.connector import Event, EventInfo, Reply, Request, Secret
from flowrun.errors import ConnectorError, Refused, SignatureInvalid
from flowrun_connectors._json import parse_json

MOST_IN_BATCH = 500  # events of one request in batched mode
LONGEST_ID = 300  # characters of source and id together


@dataclass(frozen=True, slots=True)
class Kind:
    """object: in which the document is read back. field: of ``data`` that names it, and the object's key."""

    event: str
    object: str
    field: str
    title: str


def _kinds(prefix: str, name: str, object: str, field: str, changes: Mapping[str, str]) -> dict[str, Kind]:
    return {
        f"sap.s4.beh.{name.lower()}.v1.{name}.{change}.v1": Kind(f"{prefix}.{word}", object, field, title)
        for change, (word, title) in ((change, words.split("|")) for change, words in changes.items())
    }


KINDS: dict[str, Kind] = {
    **_kinds("sales_order", "SalesOrder", "A_SalesOrder", "SalesOrder", {
        "Created": "created|a sales order was created", "Changed": "changed|a sales order changed",
    }),
    **_kinds("business_partner", "BusinessPartner", "A_BusinessPartner", "BusinessPartner", {
        "Created": "created|a business partner was created", "Changed": "changed|a business partner changed",
    }),
    **_kinds("delivery", "OutboundDelivery", "A_OutbDeliveryHeader", "DeliveryDocument", {
        "Created": "created|an outbound delivery was created", "Changed": "changed|an outbound delivery changed",
        "DelivBlockChanged": "block_changed|a delivery block was set or taken away",
        "PkngStatusChanged": "picking_changed|a delivery's picking status changed",
        "PackgStatusChanged": "packing_changed|a delivery's packing status changed",
        "GIStatusChanged": "goods_issue_changed|a delivery's goods issue status changed",
    }),
}  # fmt: skip
"""CloudEvents type → what it is here. Deletions are not among them: there is nothing left to read."""

_NAMED = {"DeliveryDocument": "OutboundDelivery"}  # the key's name in ``data``, where it is another

EVENTS: dict[str, EventInfo] = {
    kind.event: EventInfo(kind.event, kind.object, thin=True, title=kind.title) for kind in KINDS.values()
}


def verify(request: Request, user: str, secrets: Sequence[Secret]) -> None:
    """Basic credentials, or the secret alone as an API key (``x-api-key``).

    Raises SignatureInvalid, with the same words for every reason.
    """
    scheme, _, coded = request.headers.get("authorization", "").partition(" ")
    given = b""
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(coded, validate=True)
        except (binascii.Error, ValueError):
            given = b""
    key = request.headers.get("x-api-key", "").encode("utf-8", "surrogateescape")
    good = False
    for secret in secrets:  # every one is tried, so the time tells nothing
        right = secret.reveal().encode()
        good |= hmac.compare_digest(f"{user}:".encode() + right, given)
        good |= hmac.compare_digest(right, key)
    if not good:
        raise SignatureInvalid("the webhook's credentials do not hold")


def greeting(request: Request) -> Reply | None:
    """The handshake: whoever asks whether it may send here may, since its credentials were looked at before."""
    origin = request.headers.get("webhook-request-origin")
    if request.method != "OPTIONS" or not origin:
        return None
    if len(origin) > 255 or not origin.isascii() or not origin.isprintable():
        raise SignatureInvalid("the webhook's credentials do not hold")
    return Reply(200, {"WebHook-Allowed-Origin": origin})


def parse(request: Request) -> list[Event]:
    """Events in structured, batched or binary mode. One of a type that is not known here is left out: the broker would
    send it for seven days if it were refused. Raises Refused for a body that is no CloudEvent."""
    mode = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        body: Any = parse_json(request.body, "the event")
    except ConnectorError as error:
        raise Refused(f"the event cannot be read: {error.message}") from None
    if mode == "application/cloudevents-batch+json":
        if not isinstance(body, list) or len(body) > MOST_IN_BATCH:
            raise Refused(f"a batch is a list of at most {MOST_IN_BATCH} events")
        found = [_event(one) for one in body]
    elif "ce-type" in request.headers:
        names = ("id", "source", "type", "specversion")
        found = [_event({**{name: request.headers.get(f"ce-{name}") for name in names}, "data": body})]
    else:
        found = [_event(body)]
    return [one for one in found if one is not None]


def _event(body: Any) -> Event | None:
    if not isinstance(body, dict):
        raise Refused("the webhook's body is no CloudEvent")
    for name in ("id", "source", "type"):
        if not isinstance(body.get(name), str) or not body[name]:
            raise Refused(f"the event has no {name}", field=name)
    id_ = f"{body['source']} {body['id']}"
    if len(id_) > LONGEST_ID:
        raise Refused("the event's id is too long", field="id")
    kind = KINDS.get(body["type"])
    if kind is None:
        return None
    data = body.get("data")
    name = _NAMED.get(kind.field, kind.field)
    number = data.get(name) if isinstance(data, dict) else None
    if not isinstance(number, str) or not 0 < len(number) <= 40:
        raise Refused(f"the event names no {name}", field=f"data.{name}")
    # Older sources write the number with its leading zeros; the services answer to it without.
    plain = number.lstrip("0") if number.isascii() and number.isdigit() else number
    return Event(kind.event, kind.object, {kind.field: plain or "0"}, id_, thin=True)
