"""Codes that came in and have no row in the table that a flow looks them up in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from flowrun.drift.findings import Finding, Shown
from flowrun.drift.reads import Place
from flowrun.flow.model import Expr, Flow
from flowrun.flow.seen import MOST, looked_up, missing_keys
from flowrun.masking import MASKED


def missing_codes(
    flow: Flow, places: Sequence[Place], keys: Sequence[str], records: Sequence[Any], secret: Callable[[Expr], bool]
) -> list[Finding]:
    """Keys read straight from the record only; what is computed is told when it fails.

    secret: whether what an expression gives is masked; then no value is named."""
    found = []
    for value, loops, lookup, exprs in looked_up(flow.source, flow.map, flow.vars, flow.lookups):
        missing: Counter[tuple[str, ...]] = Counter()
        first: dict[tuple[str, ...], str] = {}
        for key, record in zip(keys, records, strict=True):
            for code in missing_keys(lookup, exprs, loops, flow.source.record, [record]):
                missing[code] += 1
                first.setdefault(code, key)
        if not missing:
            continue
        codes = [code for code, _ in missing.most_common()]
        hidden = any(secret(expr) for expr in exprs)
        told = MASKED if hidden else _listed(codes)
        line = value.span.line
        here = tuple(
            one for one in places if one.lookup == lookup.name and (one.file, one.line) == (value.span.file, line)
        )
        place = here or (Place((), "lookup", value.span.file, line, lookup=lookup.name),)
        misses = {"error": "fail", "skip": "are skipped", "use": "get what on_miss says"}
        words = f"lookup '{lookup.name}' has no row for {told}: such records {misses[lookup.on_miss.action]}"
        shown = Shown(first[codes[0]], told)
        share = sum(missing.values()) / max(1, len(records))
        found.append(
            Finding(
                "no row",
                exprs[0].text,
                words,
                min(1.0, share),
                None,
                shown,
                place,
                codes=() if hidden else tuple(codes),
                lookup=lookup.name,
            )
        )
    return found


def _listed(codes: Iterable[tuple[str, ...]]) -> str:
    shown = [repr(", ".join(code)) for code in codes]
    return ", ".join(shown[:MOST]) + (", …" if len(shown) > MOST else "")
