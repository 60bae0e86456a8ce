"""The lives of one object as they may be shown: masked, and with what mapping looked up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from flowrun.errors import FlowrunError
from flowrun.flow.model import Flow
from flowrun.lookups import Snapshot
from flowrun.masking import Mask
from flowrun.plan import Plan
from flowrun.runner.mapping import apply_all
from flowrun.showing import Masks, whys
from flowrun.store import Store
from flowrun.store.tracing import Event, Life, Tracing


def follow(
    store: Store, masks: Masks, key: str, flow: str | None, opened: Callable[[str], tuple[Flow, Plan]]
) -> list[Life]:
    """opened: the flow of a name, compiled; raises FlowrunError for one that is not there or not valid."""
    lives = Tracing(store.database).follow(key, flow)
    for life in lives:
        mask = masks.of(life.row.flow)
        _mapped(life, store, mask, opened)
        field = life.row.error_field or ""
        life.events = [
            replace(one, words=mask.text(one.words, life.row.payload, life.row.body, field)) for one in life.events
        ]
    return lives


def _mapped(life: Life, store: Store, mask: Mask, opened: Callable[[str], tuple[Flow, Plan]]) -> None:
    """What mapping looked up, told by the flow itself as long as it is the one that mapped the record."""
    row = life.row
    if row.flow_hash is None:
        return
    words = f"by flow {row.flow_hash}"
    try:
        flow, plan = opened(row.flow)
        live = any(lookup.kind == "connection" for lookup in flow.lookups.values())
        if flow.hash != row.flow_hash:
            words += "; the flow has changed since"
        elif flow.steps:
            words += ", step by step"
        elif live:
            words += "; it looks things up in a system, which is not asked again"
        else:
            snapshot = Snapshot()
            apply_all(flow, plan, store, [row], {}, snapshot)
            steps = [
                step
                for why in whys(mask, plan.explain(row.payload, snapshot).fields, row.payload)
                for step in why.steps
            ]
            used = dict.fromkeys(" ".join(s.split()) for s in steps if s.startswith("lookup "))
            words += "".join(f"; {step}" for step in used)
    except FlowrunError:
        words += "; the flow is not there any more, or not valid"
    # No row says when; it was just before what came of it.
    after = ("sent", "asked", "answered", "retried", "waited", "failed", "waiting", "in doubt", "skipped")
    place = max((i for i, event in enumerate(life.events) if event.event in after), default=None)
    at = row.received_at if place is None else life.events[place].at
    life.events.insert(1 if place is None else place, Event(at, "mapped", words))
