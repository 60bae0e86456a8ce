"""Two versions of a flow over the same records: which fields and outcomes differ, how often, for what cause."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flowrun.comparing.causes import Cause, Seen, Texts, cause_of, text_cause
from flowrun.connector import Record
from flowrun.diagnostics import Span
from flowrun.flow.model import Flow
from flowrun.lookups import Snapshot
from flowrun.masking import mask_of
from flowrun.plan import Identity, Mapped, Plan, Rejected, Skipped
from flowrun.planning.changes import ABSENT, fields_of
from flowrun.planning.taking import Gathered, row_of, take
from flowrun.runner import apply_all
from flowrun.runner.run import CLAIM
from flowrun.store import Incoming, Row, Store
from flowrun.values import encode_json

_INDEX = re.compile(r"\[\d+\]")
Outcome = Mapped | Skipped | Rejected


@dataclass(frozen=True, slots=True)
class Side:
    """One version. root: the folder its places count from."""

    flow: Flow
    plan: Plan
    root: Path


@dataclass(slots=True)
class Difference:
    """One field (indices dropped), or ``outcome``, and one cause. records: how many; key, old, new: of the first."""

    field: str
    cause: Cause
    key: str
    old: Any
    new: Any
    records: int = 0


@dataclass(slots=True)
class Comparison:
    records: int = 0
    differing: int = 0
    differences: list[Difference] = field(default_factory=list)


def records_of(side: Side, records: Iterable[Record]) -> list[Record]:
    """Records of a file as the flow takes them in: grouped, for a flow with groups."""
    gathered = Gathered()
    take(side.flow, side.plan, gathered, None, records)
    return gathered.records


def compare(
    old: Side, new: Side, records: Sequence[Record], *, store: Store, connections: Mapping[str, Any] | None = None
) -> Comparison:
    """Replay the records through both; nothing is sent. Both see the same cross-references and live look-ups.

    Raises ConnectorError when a live look-up cannot be asked.
    """
    made = Comparison(len(records))
    grouped: dict[tuple[str, Cause], Difference] = {}
    texts = Texts(old.root), Texts(new.root)
    for start in range(0, len(records), CLAIM):
        part = records[start : start + CLAIM]
        rows = [
            row_of(new.flow.name, Incoming("", None, "", one), -n - 1, "received", None) for n, one in enumerate(part)
        ]
        before, after = Snapshot(), Snapshot()
        outcomes = zip(
            rows,
            apply_all(old.flow, old.plan, store, rows, connections or {}, before, raises=True),
            apply_all(new.flow, new.plan, store, rows, connections or {}, after, raises=True),
            strict=True,
        )
        for row, was, now in outcomes:
            found: dict[tuple[str, Cause], tuple[Any, Any]] = {}
            for name, cause, a, b in _one(old, new, row, was, now, before, after, texts):
                found.setdefault(
                    _seen(old, new, row, name, cause), (_shown(old, new, row, name, a), _shown(old, new, row, name, b))
                )
            made.differing += bool(found)
            for (name, cause), (a, b) in found.items():
                if (name, cause) not in grouped:
                    grouped[name, cause] = Difference(name, cause, _key(new, row), a, b)
                grouped[name, cause].records += 1
    made.differences = list(grouped.values())
    return made


def _seen(old: Side, new: Side, row: Row, name: str, cause: Cause) -> tuple[str, Cause]:
    """Both without what either version masks."""
    for side in (old, new):
        mask = mask_of(side.flow)
        name = mask.text(name, row.payload)
        cause = replace(cause, what=mask.text(cause.what, row.payload, field=name))
    return name, cause


def _shown(old: Side, new: Side, row: Row, name: str, value: Any) -> Any:
    for side in (old, new):
        if value is not ABSENT:
            mask = mask_of(side.flow)
            value = mask.body(mask.value(name, value), row.payload)
    return value


def _key(side: Side, row: Row) -> str:
    identity = side.plan.identify(row.payload)
    return (identity.key or "?") if isinstance(identity, Identity) else "?"


_Found = tuple[str, Cause, Any, Any]


def _one(
    old: Side, new: Side, row: Row, was: Outcome, now: Outcome, before: Snapshot, after: Snapshot,
    texts: tuple[Texts, Texts],
) -> Iterator[_Found]:  # fmt: skip
    yield from _identity(old, new, row, texts)
    fields = _fields(was, now) if isinstance(was, Mapped) and isinstance(now, Mapped) else {}
    if not fields and _said(was) == _said(now):
        if isinstance(was, Mapped) and isinstance(now, Mapped):
            yield from _around(old, new, was, now, texts)
        return
    seen = (
        Seen.of(old.plan.explain(row.payload, before), texts[0], old.flow.lookups),
        Seen.of(new.plan.explain(row.payload, after), texts[1], new.flow.lookups),
    )
    if isinstance(was, Mapped) and isinstance(now, Mapped):
        for path, (a, b) in fields.items():
            yield _INDEX.sub("[]", path), _without_index(cause_of(path, *seen)), a, b
        yield from _around(old, new, was, now, texts)
        return
    path = _decided_by(was, now, *seen)
    cause = cause_of(path, *seen) if path else Cause("mapping", "outcome")
    yield f"outcome: {_said(was)} → {_said(now)}", _without_index(cause), _told(was), _told(now)


def _without_index(cause: Cause) -> Cause:
    return replace(cause, what=_INDEX.sub("[]", cause.what))


def _fields(was: Mapped, now: Mapped) -> dict[str, tuple[Any, Any]]:
    """Target path → both values, of the leaves that differ."""
    one, other = dict(fields_of(was.body)), dict(fields_of(now.body))
    found = {}
    for path in [*other, *(path for path in one if path not in other)]:
        a, b = one.get(path, ABSENT), other.get(path, ABSENT)
        if a is ABSENT or b is ABSENT or encode_json(a) != encode_json(b):
            found[path] = (a, b)
    return found


def _around(old: Side, new: Side, was: Mapped, now: Mapped, texts: tuple[Texts, Texts]) -> Iterator[_Found]:
    """What is no field and decides all the same: the idempotency key, and where the body goes."""
    if was.idempotency_key != now.idempotency_key:
        keys = old.flow.target.idempotency_key, new.flow.target.idempotency_key
        spans = [key.span if key is not None else None for key in keys]
        cause = text_cause("idempotency.key", spans[0], spans[1], *texts)
        yield "idempotency.key", cause, was.idempotency_key, now.idempotency_key
    for name in ("connection", "object", "action", "match"):
        a, b = getattr(old.flow.target, name), getattr(new.flow.target, name)
        if a != b:
            cause = text_cause(f"target.{name}", old.flow.target.span, new.flow.target.span, *texts)
            yield f"target.{name}", cause, _listed(a), _listed(b)


def _listed(value: Any) -> Any:
    return ", ".join(value) if isinstance(value, tuple) else value


def _identity(old: Side, new: Side, row: Row, texts: tuple[Texts, Texts]) -> Iterator[_Found]:
    """Another key, version or lane: the record would be another one, or come in another order."""
    one, other = old.plan.identify(row.payload), new.plan.identify(row.payload)
    if not isinstance(one, Identity) or not isinstance(other, Identity):
        if isinstance(one, Rejected) != isinstance(other, Rejected):
            cause = text_cause("source.key", old.flow.source.key.span, new.flow.source.key.span, *texts)
            yield "source.key", cause, getattr(one, "key", ABSENT), getattr(other, "key", ABSENT)
        return
    for name, title in (("key", "key"), ("version", "version"), ("lane", "keep_order_by")):
        a, b = getattr(one, name), getattr(other, name)
        if a != b and not (name == "lane" and one.key != other.key):
            spans: list[Span | None] = []
            for flow in (old.flow, new.flow):
                value = getattr(flow.source, title)
                spans.append(value.span if value is not None else None)
            yield f"source.{title}", text_cause(f"source.{title}", spans[0], spans[1], *texts), a, b


def _said(outcome: Outcome) -> str:
    """An outcome in a few words, without values."""
    if isinstance(outcome, Mapped):
        return "mapped"
    if isinstance(outcome, Skipped):
        return f"skipped ({outcome.reason})"
    return f"rejected ({outcome.error_class} {_INDEX.sub('[]', outcome.field)})"


def _told(outcome: Outcome) -> str:
    return f"{outcome.error_class}: {outcome.message}" if isinstance(outcome, Rejected) else _said(outcome)


def _decided_by(was: Outcome, now: Outcome, old: Seen, new: Seen) -> str:
    """The path at which the outcome was decided: that of the later version when both are none."""
    for outcome, seen in ((now, new), (was, old)):
        if isinstance(outcome, Rejected):
            last = sum(name.startswith("require[") for name in seen.whys) - 1  # the one that did not hold
            return f"require[{last}]" if outcome.field == "require" else outcome.field
        if isinstance(outcome, Skipped):
            if outcome.reason == "only_when":
                return "only_when"
            missed = f"lookup {outcome.reason}: no row"
            return next((p for p, why in seen.whys.items() if any(s.startswith(missed) for s in why.steps)), "")
    return ""
