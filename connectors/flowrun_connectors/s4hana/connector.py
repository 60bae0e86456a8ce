"""SAP S/4HANA: sales orders written with deep insert, the rest read, over OData V2 and V4."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import httpx

from flowrun.connector import (
    Event,
    EventInfo,
    Health,
    Item,
    ObjectInfo,
    Page,
    Query,
    Receipt,
    Record,
    Reply,
    Request,
    Secret,
    Verdict,
    setting,
)
from flowrun.contract import Shape
from flowrun.errors import ConnectorError, NotFound, Refused, SignatureInvalid
from flowrun.values import Clock
from flowrun_connectors._odata.edmx import Metadata
from flowrun_connectors.s4hana import events, reading, writing
from flowrun_connectors.s4hana.derive import derive
from flowrun_connectors.s4hana.objects import SERVICES, Service, shape
from flowrun_connectors.s4hana.session import Session


@dataclass(frozen=True)
class S4Settings:
    base_url: str = setting("The API host.", example="https://my300000-api.s4hana.ondemand.com")
    client: str = setting("SAP client, when the host serves several.", default="", example="100")
    language: str = setting("Language of messages and texts; without one they come in the user's.", default="EN")
    page_size: int = setting("Records a page, where the flow does not say.", default=reading.TOP)
    overwrite: bool = setting("true: updates ignore changes made meanwhile (If-Match: *).", default=False)
    lock_codes: Any = setting(
        "Further message codes that mean somebody works on the document, so it is tried again.",
        default=None,
        example="[VL/046]",
    )
    webhook_user: str = setting("The user that Event Mesh's webhook subscription sends (Basic).", default="flowrun")
    webhook_secret: Any = setting(
        "Its password, or the key that it sends as x-api-key; a list while it is changed.", default=None
    )

    def __post_init__(self) -> None:
        given = self.webhook_secret
        listed = given if isinstance(given, list | tuple) else [] if given in (None, "") else [given]
        secrets = tuple(one if isinstance(one, Secret) else Secret(str(one), "webhook_secret") for one in listed)
        object.__setattr__(self, "webhook_secret", secrets)


class S4Hana:
    """See README.md in this folder."""

    Settings: ClassVar[type] = S4Settings
    title: ClassVar[str] = "SAP S/4HANA"
    simulator: ClassVar[str] = "flowrun_connectors.s4hana.simulator:S4HanaSimulator"
    events: ClassVar[Mapping[str, EventInfo]] = events.EVENTS
    error_classes: ClassVar[frozenset[str]] = frozenset(
        {"rate_limited", "network", "auth", "rejected", "not_found", "conflict", "unknown_outcome", "other"}
    )

    @classmethod
    def objects(cls, settings: Mapping[str, Any]) -> Mapping[str, ObjectInfo]:
        return {name: service.info for name, service in SERVICES.items()}

    @classmethod
    def object_info(cls, object: str, settings: Mapping[str, Any]) -> ObjectInfo | None:
        return SERVICES[object].info if object in SERVICES else None

    @classmethod
    def describe(cls, object: str, settings: Mapping[str, Any]) -> Shape | None:
        return shape(object) if object in SERVICES else None

    def __init__(self, settings: S4Settings, http: httpx.Client, now: Clock) -> None:
        self.settings = settings
        self.http = http
        params = {"sap-language": settings.language}
        if settings.client:
            params["sap-client"] = settings.client
        codes = settings.lock_codes or ()
        self._session = Session(http, params, [codes] if isinstance(codes, str) else list(codes))
        self._reader = reading.Reader(self._session, settings.page_size)
        self._writer = writing.Writer(self._session, self._reader, overwrite=settings.overwrite)

    def _service(self, object: str) -> Service:
        if object not in SERVICES:
            raise Refused(f"S/4HANA has no object '{object}' here", help=f"it has: {', '.join(SERVICES)}")
        return SERVICES[object]

    def read(self, query: Query) -> Iterator[Page]:
        """Pages of what changed at or after the cursor, oldest first; all of it, by key, when there is no cursor.

        A cursor of day precision is given with the last page only, since rows of one day have no order.
        Raises ConnectorError.
        """
        self._service(query.object)
        return self._reader.read(query)

    def get(self, object: str, key: Mapping[str, Any], expand: Sequence[str] = ()) -> Record | None:
        self._service(object)
        try:
            return self._reader.one(object, key, expand).record
        except NotFound:
            return None

    def find(self, object: str, by: Mapping[str, Any]) -> Sequence[Receipt]:
        """Objects whose fields equal ``by``, each of them: asked before a repeat whose outcome is unknown.

        Raises Refused for an empty ``by``: "anything" is never what was meant.
        """
        service = self._service(object)
        if not by:
            raise Refused("nothing to search by")
        return [
            Receipt(writing.number_of(service, record), response=record) for record in self._reader.matching(object, by)
        ]

    def deliver(self, items: Sequence[Item]) -> Sequence[Verdict]:
        """Each item by itself: one document never waits for another's mistake."""
        return [self._deliver(item) for item in items]

    def _deliver(self, item: Item) -> Verdict:
        try:
            service = self._service(item.object)
            if item.action not in service.info.actions:
                can = ", ".join(service.info.actions) or "only read"
                return Refused(f"{item.object} cannot be {item.action}d here", help=f"this object can be: {can}")
            return self._writer.create(item) if item.action == "create" else self._writer.update(item)
        except ConnectorError as error:
            return error

    def greet(self, request: Request) -> Reply | None:
        """Event Mesh's handshake. Raises SignatureInvalid."""
        if request.method != "OPTIONS":
            return None
        self._prove(request)
        return events.greeting(request)

    def receive(self, request: Request) -> Sequence[Event]:
        """Events name a document, which is read back over OData. Raises SignatureInvalid, Refused."""
        self._prove(request)
        return events.parse(request)

    def understand(self, request: Request) -> Sequence[Event]:
        return events.parse(request)

    def _prove(self, request: Request) -> None:
        if not self.settings.webhook_secret:
            raise SignatureInvalid("the webhook's credentials do not hold")
        events.verify(request, self.settings.webhook_user, self.settings.webhook_secret)

    def check(self) -> Health:
        """Reads one sales order and fetches a token: user, scenario, client and cookies in two calls."""
        service = SERVICES["A_SalesOrder"]
        try:
            self._reader.probe("A_SalesOrder")
            self._session.held(service.root)
        except ConnectorError as error:
            code = f" ({error.code})" if error.code else ""
            return Health(False, f"{service.name}: {error.error_class}: {error.message}{code}")
        return Health(True, f"{service.name} can be read, and gives a token to write")

    def pull_contract(self, object: str) -> Shape:
        """The tenant's own $metadata as a contract: its custom fields, its release. Raises ConnectorError."""
        service = self._service(object)
        response = self._session.get(service.root + "$metadata", accept="application/xml")
        return derive(object, Metadata(response.content, f"{service.name} $metadata"))
