"""What one record looks up, for who asks why it becomes what it becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flowrun.connector import Record
from flowrun.flow.model import Flow
from flowrun.lookups import Snapshot
from flowrun.plan import Plan
from flowrun.planning.taking import row_of
from flowrun.runner import apply_all
from flowrun.store import Incoming, Store


class Unasked:
    """Stands in for a system that is not to be asked: it knows no record."""

    def get(self, object: str, key: Mapping[str, Any], expand: Sequence[str] = ()) -> Record | None:
        return None


def looked_up(
    flow: Flow, plan: Plan, record: Record, store: Store, connections: Mapping[str, Any] | None = None
) -> Snapshot:
    """The answers of all look-ups that lead to what comes of the record. connections: for live look-ups; without them
    none is asked, and has no row.

    Raises ConnectorError when a live look-up cannot be asked.
    """
    if connections is None:
        connections = {one.connection: Unasked() for one in flow.lookups.values() if one.connection}
    snapshot = Snapshot()
    row = row_of(flow.name, Incoming("", None, "", record), -1, "received", None)
    apply_all(flow, plan, store, [row], connections, snapshot, raises=True)
    return snapshot
