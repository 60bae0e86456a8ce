"""What a plan is handed to look things up in: a snapshot, so that mapping stays pure.

Tables of the flow are compiled into the plan. Cross-references and live look-ups stand elsewhere; a key that the
snapshot does not hold is *wanted*: the runner resolves the wanted keys of a whole batch and applies again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

MISS: Final[Any] = type("Miss", (), {"__repr__": lambda self: "MISS", "__slots__": ()})()
"""What a look-up gives when there is no row; None is a row whose answer is empty."""

Key = str | tuple[str, ...]


class Wanted_(Exception):
    """Raised inside a plan for a key that the snapshot does not hold yet."""

    def __init__(self, lookup: str, key: Key) -> None:
        self.lookup = lookup
        self.key = key


@dataclass(slots=True)
class Snapshot:
    """held: lookup name → key → answer (MISS: known to have no row). closed: a key that is not held is a MISS and
    never wanted (tests, ``flowrun map`` with given cross-references). The flow's own tables are part of its plan."""

    held: dict[str, dict[Key, Any]] = field(default_factory=dict)
    closed: bool = False

    def get(self, lookup: str, key: Key) -> Any:
        rows = self.held.get(lookup)
        if rows is not None and key in rows:
            return rows[key]
        if self.closed:
            return MISS
        raise Wanted_(lookup, key)

    def add(self, lookup: str, answers: Mapping[Key, Any]) -> None:
        self.held.setdefault(lookup, {}).update(answers)


class Gathering(Snapshot):
    """Notes every key of ``names`` that the snapshot lacks and goes on with a stand-in, so that one look at a record
    finds all it wants. What is mapped with it is thrown away; a stand-in may lead to a key that nobody wanted, which
    costs a row of a query. Names outside ``names`` are wanted one at a time, as they ask another system."""

    __slots__ = ("_names", "wanted")

    def __init__(self, snapshot: Snapshot, names: frozenset[str]) -> None:
        super().__init__(snapshot.held)
        self._names = names
        self.wanted: dict[str, set[Key]] = {}

    def get(self, lookup: str, key: Key) -> Any:
        rows = self.held.get(lookup)
        if rows is not None and key in rows:
            return rows[key]
        if lookup not in self._names:
            raise Wanted_(lookup, key)
        self.wanted.setdefault(lookup, set()).add(key)
        return "1"
