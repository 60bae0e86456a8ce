"""What applying a plan to one record gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from flowrun.diagnostics import NOWHERE, Span
from flowrun.lookups import Key, Snapshot


@dataclass(frozen=True, slots=True)
class Identity:
    """key: names the record. version: text that orders versions, or None. lane: records with the same lane go one at
    a time. group: the value of group_by, for grouped flows."""

    key: str
    version: str | None
    lane: str
    group: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What the store knows the record by."""
        return tuple(name for name in (self.key, self.lane, self.version) if name is not None)


class Mapped(msgspec.Struct, gc=False):  # one is made per record, and a dataclass takes four times as long to make
    """body: what is sent, in canonical form. match: the fields that name the object. warnings: words for the run.
    lookups: what the record was mapped with; ``Plan.saves`` wants it."""

    body: dict[str, Any]
    idempotency_key: str | None = None
    match: Mapping[str, Any] = msgspec.field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    lookups: Snapshot | None = None

    @property
    def object(self) -> str:
        """What the target's object is called: the values of the match fields, else the idempotency key."""
        return ", ".join(map(str, self.match.values())) or self.idempotency_key or ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """reason: ``only_when``, or the lookup whose ``on_miss: skip`` applied."""

    reason: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """field: the target path (``to_Item[1].Material``), or ``require``, ``source.key``, ``vars.x``, a rule's name."""

    error_class: str
    field: str
    message: str
    span: Span = NOWHERE
    help: str = ""


@dataclass(frozen=True, slots=True)
class Controls:
    """What the source counts of a record for control totals. sums: target's field → number, None when the record has no
    value. per: what they are split by."""

    sums: Mapping[str, Any]
    per: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Keys to resolve before the record can be mapped."""

    keys: Mapping[str, frozenset[Key]]


@dataclass(frozen=True, slots=True)
class SavedXref:
    xref: str
    source_id: str
    target_id: str


Outcome = Mapped | Skipped | Rejected | Wanted
