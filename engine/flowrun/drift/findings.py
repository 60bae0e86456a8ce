"""One thing that drifted, and whom it hurts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flowrun.drift.reads import Place

Kind = Literal["gone", "renamed", "null", "type", "code", "no row", "length", "range", "contract"]


@dataclass(frozen=True, slots=True)
class Shown:
    """What one record held, in words; masked where the flow masks."""

    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """path: as expressions write it, with the record's name. share: of recent records (of rows, inside lists) it
    concerns. before, after: one record each. places: the expressions that read it, in file order. renamed_to: the
    field that took its place. codes: new values. lookup: the table that has no row for them."""

    kind: Kind
    path: str
    message: str
    share: float = 1.0
    before: Shown | None = None
    after: Shown | None = None
    places: tuple[Place, ...] = ()
    renamed_to: str = ""
    codes: tuple[tuple[str, ...], ...] = ()
    lookup: str = ""
