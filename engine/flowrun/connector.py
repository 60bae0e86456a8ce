"""What is spoken with connectors: protocols of one or two methods, the records they carry, discovery.

A connector class implements the protocols it can. It is built by the engine as ``cls(settings, http, now)``:
``settings`` an instance of its ``Settings`` dataclass, ``http`` an ``httpx.Client`` whose base address, credentials,
budgets and limits are already in place (None for connectors that speak no HTTP), ``now`` the clock.
Everything static (what it can do, which fields exist) is asked of the class, offline.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from flowrun.contract import Shape
from flowrun.errors import ConnectorError, ProjectError
from flowrun.pacing.headers import LimitHeaders, read_wait
from flowrun.values import Secret

Record = Mapping[str, Any]
Once = Literal["idempotency_key", "upsert", "find", "none"]
"""How one intended effect stays one at the target; ``none`` means at least once, and validate says so."""


# -- reading ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the source's order of change. A time is ISO 8601 text in UTC; the connector turns it into the
    vendor's literal. Inclusive: records at exactly this place are read again, the inbox removes the repeat."""

    value: str


@dataclass(frozen=True, slots=True)
class Query:
    """What to read. ``since`` is already moved back by the trigger's overlap.

    cursor: the source field that orders changes (None: read all, ``full: true``).
    filter: field → one value or a list of values (any of them), sent to the source where it can filter.
    expand: names of nested objects to bring along. page_size: records a page, None the connector's choice.
    """

    object: str
    since: Cursor | None = None
    cursor: str | None = None
    filter: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    expand: Sequence[str] = ()
    page_size: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Records of one response, oldest change first, and the cursor that is safe to save once they are stored."""

    records: Sequence[Record]
    cursor: Cursor | None = None


# -- writing ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Item:
    """One intended effect. match: the body fields that name the object (update, upsert, delete)."""

    object: str
    action: str
    body: Mapping[str, Any]
    idempotency_key: str | None = None
    match: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof of delivery. id: the target's own number. response: what it answered (``response.…`` in ``save``)."""

    id: str
    created: bool = False
    response: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


Verdict = Receipt | ConnectorError


# -- receiving -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """A webhook as it arrived. headers: lower-case names. body: raw bytes, as signed. received_at: aware, UTC."""

    method: str
    path: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Event:
    """name: as the connector declares (``order.placed``). id: the sender's event id, for de-duplication ("" if none).
    thin: the record holds little more than a key and is read back before it is mapped."""

    name: str
    object: str
    record: Record
    id: str = ""
    thin: bool = False


@dataclass(frozen=True, slots=True)
class Pulled:
    """A message of a queue. ticket: to acknowledge it by. request: as if it had been pushed."""

    ticket: str
    request: Request


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a handshake. body: as it is sent."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Health:
    """ok, and in words what was tried and what came back."""

    ok: bool
    message: str


# -- what a connector declares about itself --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What one object allows.

    actions: ``create``, ``update``, ``upsert``, ``delete`` or the connector's own words; each with how it stays once.
    cursors: fields usable as ``trigger.poll.cursor``. find: fields usable as ``find_existing``.
    match: fields usable as ``match``. batch: most items of one ``deliver`` that share a vendor call (1: none).
    filters: fields the source filters by (None: any).
    """

    name: str
    title: str = ""
    readable: bool = True
    by_key: bool = False
    actions: Mapping[str, Once] = field(default_factory=dict)
    cursors: tuple[str, ...] = ()
    find: tuple[str, ...] = ()
    match: tuple[str, ...] = ()
    filters: tuple[str, ...] | None = None
    batch: int = 1
    note: str = ""  # why something is not possible


@dataclass(frozen=True, slots=True)
class EventInfo:
    name: str
    object: str
    thin: bool = False
    title: str = ""


def setting(doc: str, *, default: Any = dataclasses.MISSING, example: str = "") -> Any:
    """A field of a ``Settings`` dataclass: its words serve the parser, the checker, the schema and the docs."""
    metadata = {"doc": doc, "example": example}
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


class Connector(Protocol):
    """The static face that every connector class has. ``settings`` here is the plain mapping of non-secret settings
    as written (values by reference may be absent), since these answers are given offline.

    A class may declare ``limit_headers``, a sequence of ``LimitHeaders``: those in which its system tells how much of
    its limits is left. Retry-After, RateLimit and X-RateLimit are known to all.
    """

    Settings: ClassVar[type]
    title: ClassVar[str]
    events: ClassVar[Mapping[str, EventInfo]]
    error_classes: ClassVar[frozenset[str]]

    @classmethod
    def objects(cls, settings: Mapping[str, Any]) -> Mapping[str, ObjectInfo]:
        """Known objects by name, in the order to show them."""
        ...

    @classmethod
    def object_info(cls, object: str, settings: Mapping[str, Any]) -> ObjectInfo | None:
        """One object, or None when there is no such object. Generic connectors answer for any name."""
        ...

    @classmethod
    def describe(cls, object: str, settings: Mapping[str, Any]) -> Shape | None:
        """The fields of an object, offline; None when nothing is known of them."""
        ...


@runtime_checkable
class Source(Protocol):
    def read(self, query: Query) -> Iterator[Page]:
        """Yield pages of changed records, oldest change first. Raises ConnectorError."""
        ...


@runtime_checkable
class Reads(Protocol):
    def get(self, object: str, key: Mapping[str, Any], expand: Sequence[str] = ()) -> Record | None:
        """One record by its key fields, or None."""
        ...


@runtime_checkable
class Receiver(Protocol):
    def receive(self, request: Request) -> Sequence[Event]:
        """Prove the signature over the raw bytes, then parse. Raises SignatureInvalid; Refused when unreadable."""
        ...


@runtime_checkable
class Greets(Protocol):
    def greet(self, request: Request) -> Reply | None:
        """The answer to a sender that only asks whether it may send here; None when the request is no such question,
        and ``receive`` gets it. Raises SignatureInvalid."""
        ...


@runtime_checkable
class Understands(Protocol):
    def understand(self, request: Request) -> Sequence[Event]:
        """What ``receive`` gives, of a request that is known to be genuine: it came from a queue. Raises Refused."""
        ...


@runtime_checkable
class Pulls(Protocol):
    @property
    def brings(self) -> str:
        """The connection whose events the queue holds; its connector ``Understands`` them."""
        ...

    def pull(self, limit: int) -> Sequence[Pulled]:
        """Messages that wait, the oldest first; they come again unless they are acknowledged. Raises ConnectorError."""
        ...

    def acknowledge(self, tickets: Sequence[str]) -> None:
        """These are held, and need not come again. Raises ConnectorError."""
        ...


@runtime_checkable
class Target(Protocol):
    def find(self, object: str, by: Mapping[str, Any]) -> Sequence[Receipt]:
        """Objects whose fields equal ``by`` (``created`` is False). Raises ConnectorError when it cannot be asked."""
        ...

    def deliver(self, items: Sequence[Item]) -> Sequence[Verdict]:
        """Write each item; one verdict per item, in order. Never raises for a single item's failure; a lost answer
        is a DeliveryUnknown verdict."""
        ...


@runtime_checkable
class Calls(Protocol):
    def call(self, action: str, args: Mapping[str, Any]) -> Receipt:
        """An action that is no object. Raises ConnectorError."""
        ...


@runtime_checkable
class Checks(Protocol):
    def check(self) -> Health:
        """Do the credentials work and is the system there? Never raises."""
        ...


@runtime_checkable
class PullsContract(Protocol):
    def pull_contract(self, object: str) -> Shape:
        """The live system's own description ($metadata, OpenAPI) as a Shape. Raises ConnectorError."""
        ...


# -- discovery -------------------------------------------------------------------------------------------------

Registry = Mapping[str, type[Connector]]
"""Connector name → class. A value that is handed on; a test passes its own."""

GROUP = "flowrun.connectors"


def installed(group: str = GROUP) -> dict[str, str]:
    """Name → ``module:Class`` (connectors, or another group), from the entry points of every installed distribution.

    Reads the ``entry_points.txt`` files itself, as ``importlib.metadata`` takes longer to import than the rest of a
    short command; that is asked only where the path holds something else than folders.
    """
    found: dict[str, str] = {}
    for folder in dict.fromkeys(sys.path):
        if folder.endswith((".zip", ".egg", ".whl")) and os.path.isfile(folder):  # noqa: PTH113 - start-up
            from importlib.metadata import entry_points

            return {point.name: point.value for point in entry_points(group=group)}
        try:
            entries = [e.path for e in os.scandir(folder or ".") if e.name.endswith((".dist-info", ".egg-info"))]
        except OSError:
            continue
        for path in sorted(entries):
            try:
                with open(os.path.join(path, "entry_points.txt"), encoding="utf-8") as file:  # noqa: PTH118, PTH123
                    text = file.read()
            except OSError:
                continue
            for name, value in _points(text, group):
                found.setdefault(name, value)
    return found


def _points(text: str, group: str) -> Iterator[tuple[str, str]]:
    section = ""
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line.strip("[]").strip()
        elif section == group and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            yield name.strip(), value.split("[")[0].strip()


class LazyRegistry(Mapping[str, type[Connector]]):
    """Connectors registered by entry point; a class is imported when it is first asked for."""

    def __init__(self) -> None:
        self._points = installed()
        self._loaded: dict[str, type[Connector]] = {}

    def __getitem__(self, name: str) -> type[Connector]:
        if name not in self._loaded:
            module, _, attribute = self._points[name].partition(":")
            try:
                self._loaded[name] = getattr(importlib.import_module(module), attribute)
            except (ImportError, AttributeError) as error:
                raise ProjectError(
                    f"connector '{name}' could not be loaded: {error}", help="install the extra it needs"
                ) from error
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._points))

    def __len__(self) -> int:
        return len(self._points)

    def __contains__(self, name: object) -> bool:
        return name in self._points


def discover() -> Registry:
    """All installed connectors. Reading the entry points imports none of them."""
    return LazyRegistry()


__all__ = [
    "Calls",
    "Checks",
    "Connector",
    "Cursor",
    "Event",
    "EventInfo",
    "Greets",
    "Health",
    "Item",
    "LimitHeaders",
    "ObjectInfo",
    "Once",
    "Page",
    "Pulled",
    "Pulls",
    "PullsContract",
    "Query",
    "Reads",
    "Receipt",
    "Receiver",
    "Record",
    "Registry",
    "Reply",
    "Request",
    "Secret",
    "Source",
    "Target",
    "Understands",
    "Verdict",
    "discover",
    "installed",
    "read_wait",
    "setting",
]
