"""A report in words, and as plain values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flowrun.reconcile.comparing import Report
from flowrun.reconcile.spool import KINDS
from flowrun.store.repairs import Losses

FEW = 5  # keys of one kind in the line of totals
MOST = 200  # differences that are shown one by one
ONLY = ("key", "object", "why", "fields", "place")


def headline(report: Report) -> str:
    """``42 orders, 12,310.40 USD in xcart; 41 orders, 12,275.40 USD in s4; missing: 1044``."""
    flow = report.flow
    parts = [
        f"{report.source.words(report.noun)} in {flow.source.connection}",
        f"{report.target.words(report.noun)} in {flow.target.connection}",
    ]
    for kind in KINDS:
        count = report.counts[kind]
        if count:
            keys = report.spool.keys(kind, FEW)
            more = f" and {count - len(keys):,} more" if count > len(keys) else ""
            parts.append(f"{kind}: {', '.join(keys)}{more}")
    if not report.differences:
        parts.append("no differences" if report.source.same(report.target) else "each object is as it should be")
    return "; ".join(parts)


def remarks(report: Report) -> Iterator[str]:
    """What is no difference, and has to be known all the same."""
    if report.skipped:
        yield f"{report.skipped:,} records of the source are skipped by the flow"
    if report.waiting:
        yield f"{report.waiting:,} records differ and still wait for their delivery"
    if report.past:
        yield f"{report.past:,} objects of the target were made of records that the flow skips by now"
    yield from report.notes


def lost(losses: Losses) -> str:
    """ "" when there is nothing to say."""
    total = losses.brought + losses.missed
    if not total:
        return ""
    return f"webhooks: {losses.missed:,} of {total:,} records were missed ({100 * losses.rate:.2f}%)"


def plain(report: Report, losses: Losses) -> dict[str, Any]:
    """As JSON has it. differences: at most MOST, without what only a repair needs."""
    flow = report.flow
    found = report.spool.differences(limit=MOST)
    return {
        "flow": flow.name,
        "environment": report.environment,
        "since": report.since,
        "totals": {
            side: {"connection": connection, "count": totals.count, "sums": totals.rows()}
            for side, connection, totals in (
                ("source", flow.source.connection, report.source), ("target", flow.target.connection, report.target),
            )
        },
        "counts": dict(report.counts),
        "repairable": report.repairable,
        "skipped": report.skipped,
        "waiting": report.waiting,
        "past": report.past,
        "differences": [
            {"kind": kind, **{name: facts[name] for name in ONLY if facts.get(name)}} for kind, facts in found
        ],
        "notes": list(report.notes),
        "webhooks": {"brought": losses.brought, "missed": losses.missed, "loss_rate": round(losses.rate, 6)},
    }  # fmt: skip
