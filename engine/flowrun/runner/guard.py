"""``guard``: a run that wants to change too much stops before it changes anything."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from flowrun.errors import GuardStopped
from flowrun.flow.model import Flow
from flowrun.plan import Mapped, Plan
from flowrun.runner.mapping import apply_all
from flowrun.store import Store, fingerprint

_PART = 256


def check_guard(flow: Flow, plan: Plan, store: Store, connections: Mapping[str, Any]) -> None:
    """Map all that waits and count what would be sent. Raises GuardStopped; nothing has been sent then.

    max_share is of the keys that this flow has seen; it is not judged before the first delivery, which sends all.
    """
    guard = flow.target.guard
    if guard is None:
        return
    changes = 0
    after = 0
    while rows := store.open_records(flow.name, after, _PART):
        after = rows[-1].seq
        outcomes = apply_all(flow, plan, store, rows, connections)
        mapped = [one for one in outcomes if isinstance(one, Mapped)]
        if flow.target.only_changes:
            there = store.was_sent(flow.name, [one.object for one in mapped])
            changes += sum(there.get(one.object) != fingerprint(one.body) for one in mapped)
        else:
            changes += len(mapped)
    words = too_much(flow, changes, len(store.inbox.keys(flow.name)), delivered=store.delivered(flow.name))
    if words:
        raise GuardStopped(
            f"guard of {flow.name}: {words}; nothing was sent",
            help=f"look with: flowrun plan {flow.name}; to send all the same: flowrun run {flow.name} --override-guard",
        )


def too_much(flow: Flow, changes: int, seen: int, *, delivered: bool) -> str:
    """In words, by how much the changes are more than the guard allows; "" when they are not.

    seen: keys that the flow knows. delivered: whether anything ever was.
    """
    guard = flow.target.guard
    if guard is None:
        return ""
    if guard.max_changes is not None and changes > guard.max_changes:
        return f"{changes} changes are more than max_changes: {guard.max_changes}"
    if guard.max_share is not None and delivered and changes > seen * guard.max_share:
        share = Decimal(100 * changes) / seen
        return f"{changes} of {seen} ({share:.0f}%) are more than max_share: {guard.max_share * 100:.0f}%"
    return ""
