"""Repair: what differs goes once more through the flow, under its guard; what is extra at the target stays there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flowrun.errors import GuardStopped
from flowrun.reconcile.comparing import Report
from flowrun.runner import too_much
from flowrun.runner.run import CLAIM
from flowrun.store import Incoming, Store
from flowrun.store.repairs import Again


def repair(report: Report, store: Store, *, run: int, who: str, override_guard: bool = False) -> int:
    """Put back what can be repaired, to be delivered by whoever delivers the flow. Returns how many now wait that did
    not before. Raises GuardStopped before any is put, StoreError; done again after a stop, it goes on."""
    if not override_guard:
        check(report, store)
    return sum(store.repairs.put(report.flow.name, part, run=run, who=who) for part in _parts(report))


def check(report: Report, store: Store) -> None:
    """Raises GuardStopped when the repair is more than the flow's guard allows."""
    flow = report.flow
    seen = max(len(store.inbox.keys(flow.name)), report.source.count)
    words = too_much(flow, report.repairable, seen, delivered=store.delivered(flow.name))
    if words:
        raise GuardStopped(
            f"guard of {flow.name}: {words}; nothing was repaired",
            help=f"look at the differences; to repair all the same: flowrun reconcile {flow.name} --repair"
            " --override-guard",
        )


def _parts(report: Report) -> Iterator[list[Again]]:
    part: list[Again] = []
    for _, facts in report.spool.differences(repairable=True):
        part.append(_again(report, facts))
        if len(part) == CLAIM:
            yield part
            part = []
    if part:
        yield part


def _again(report: Report, facts: dict[str, Any]) -> Again:
    incoming = Incoming(facts["key"], facts["version"], facts["lane"], facts["payload"])
    object_ = ""
    if report.flow.target.only_changes:
        object_ = ", ".join(str(value) for value in facts["match"].values()) or facts["intent"]
    return Again(incoming, facts["intent"], object_)
