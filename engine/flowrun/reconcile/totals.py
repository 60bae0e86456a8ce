"""Control totals: how many, and sums per field, of each side. What cannot be summed is counted apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any


class Totals:
    """fields: what is summed, each with the least digits that are shown after the point. sums: by what ``per`` gives,
    field → sum. blank: field → objects without a number there."""

    def __init__(self, fields: Mapping[str, int]) -> None:
        self.places = dict(fields)
        self.fields = tuple(fields)
        self.count = 0
        self.sums: dict[tuple[str, ...], dict[str, Decimal]] = {}
        self.blank: dict[str, int] = {}

    def add(self, values: Mapping[str, Any], per: Sequence[str], sign: int = 1) -> None:
        """sign -1 takes back what was added."""
        self.count += sign
        held = self.sums.setdefault(tuple(per), {}) if self.fields else {}
        for field in self.fields:
            number = _number(values.get(field))
            if number is None:
                self.blank[field] = self.blank.get(field, 0) + sign
            else:
                held[field] = held.get(field, Decimal(0)) + sign * number

    def rows(self) -> list[dict[str, Any]]:
        """As plain values, in order: per, sums."""
        filled = {per: sums for per, sums in sorted(self.sums.items()) if sums}
        return [{"per": list(per), "sums": dict(sums)} for per, sums in filled.items()]

    def same(self, other: Totals) -> bool:
        nothing: dict[str, Decimal] = {}
        pers = self.sums.keys() | other.sums.keys()
        fields = self.fields
        zero = Decimal(0)
        return self.count == other.count and all(
            self.sums.get(per, nothing).get(field, zero) == other.sums.get(per, nothing).get(field, zero)
            for per in pers
            for field in fields
        )

    def words(self, noun: str) -> str:
        """``42 orders, 12,310.40 USD``; fields are named when there are several."""
        parts = [f"{self.count:,} {noun}"]
        for row in self.rows():
            per = " ".join(row["per"])
            for field, value in row["sums"].items():
                name = f"{field} " if len(self.fields) > 1 else ""
                parts.append(f"{name}{_shown(value, self.places[field])}{' ' if per else ''}{per}")
        return ", ".join(parts)


def _shown(value: Decimal, places: int) -> str:
    exponent = value.normalize().as_tuple().exponent
    digits = max(places, -exponent if isinstance(exponent, int) else 0)
    return f"{value:,.{digits}f}"


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None
    return found if found.is_finite() else None
