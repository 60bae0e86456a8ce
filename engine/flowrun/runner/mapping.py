"""Rows to outcomes: the plan applied to a batch, with the cross-references and live look-ups it asks for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from flowrun.connector import Reads
from flowrun.errors import BudgetSpent, ConnectorError, ProjectError
from flowrun.flow.model import Flow
from flowrun.lookups import MISS, Gathering, Key, Snapshot
from flowrun.plan import Mapped, Outcome, Plan, Rejected, Skipped, Wanted
from flowrun.store import Row, Store, unfit
from flowrun.store.rows import AS_RAN

ROUNDS = 1000  # of resolving what a record wants: each answers a key, so more is a circle of live look-ups


def apply_all(
    flow: Flow,
    plan: Plan,
    store: Store,
    rows: Sequence[Row],
    connections: Mapping[str, Any],
    snapshot: Snapshot | None = None,
    *,
    raises: bool = False,
) -> list[Mapped | Skipped | Rejected]:
    """Map a batch; wanted keys of all its records are resolved with one query per table and round.

    One round finds all the cross-references of a record; a further one is needed only where a look-up's key depends on
    another look-up's answer, and for each live look-up.

    snapshot: filled with what was looked up, for who asks why. raises: the ConnectorError of a live look-up's system
    instead of rejecting the records that wait for it.
    """
    snapshot = Snapshot() if snapshot is None else snapshot
    xrefs = frozenset(name for name, lookup in flow.lookups.items() if lookup.kind == "xref")
    found: dict[int, Mapped | Skipped | Rejected] = dict(_as_ran(flow, store, rows))
    open_ = [row for row in rows if row.seq not in found]
    for _ in range(ROUNDS):
        wanted: dict[str, set[Key]] = {}
        still = []
        missing: dict[int, Collection[str]] = {}
        for row in open_:
            outcome = _outcome(plan, row, snapshot, flow.target.only_changes)
            if not isinstance(outcome, Wanted):
                found[row.seq] = outcome
                continue
            still.append(row)
            missing[row.seq] = outcome.keys.keys()
            for name, keys in outcome.keys.items():
                wanted.setdefault(name, set()).update(keys)
            gathering = Gathering(snapshot, xrefs)
            plan.apply(row.payload, gathering)
            for name, more in gathering.wanted.items():
                wanted.setdefault(name, set()).update(more)
        open_ = still
        for name, needed in wanted.items():
            try:
                snapshot.add(name, resolve(flow, store, name, needed, connections))
            except BudgetSpent:  # nothing was asked: all of it waits
                raise
            except ConnectorError as error:  # a live lookup's system: its records follow on_error, others go on
                if raises:
                    raise
                refused = Rejected(error.error_class, "", f"lookup '{name}': {error.message}", help=error.help)
                found.update((row.seq, refused) for row in open_ if name in missing[row.seq])
        open_ = [row for row in open_ if row.seq not in found]
        if not open_:
            break
    for row in open_:
        found[row.seq] = Rejected("bad_data", "", f"more than {ROUNDS} look-ups of one record depend on each other")
    return [found[row.seq] for row in rows]


def _as_ran(flow: Flow, store: Store, rows: Sequence[Row]) -> Iterator[tuple[int, Mapped]]:
    """Records that a person replays as they ran are what they were, whatever the flow says now."""
    seqs = [row.seq for row in rows if row.reason == AS_RAN]
    if seqs:
        for seq, kept in store.letters.as_ran(seqs).items():
            match = {name: kept.body.get(name) for name in flow.target.match}
            yield seq, Mapped(kept.body, None if kept.intent == f"#{seq}" else kept.intent, match)


def _outcome(plan: Plan, row: Row, snapshot: Snapshot, watched: bool) -> Outcome:
    """watched: only changes are sent, so what the object is called is remembered."""
    if row.key.startswith("?"):  # taken in without an identity: say why, until it is corrected
        identity = plan.identify(row.payload)
        if isinstance(identity, Rejected):
            return identity
        for why in filter(None, map(unfit, identity.names)):
            return Rejected("bad_data", "source.key", f"a key {why}")
    outcome = plan.apply(row.payload, snapshot)
    if isinstance(outcome, Mapped):
        if why := unfit(outcome.idempotency_key or ""):
            return Rejected("bad_data", "target.idempotency", f"a key {why}")
        if watched and (why := unfit(outcome.object)):
            return Rejected("bad_data", "target.match", f"a key {why}")
    return outcome


def resolve(flow: Flow, store: Store, name: str, keys: set[Key], connections: Mapping[str, Any]) -> dict[Key, Any]:
    """Answers for the wanted keys of one lookup; keys without a row are MISS."""
    lookup = flow.lookups[name]
    answers: dict[Key, Any] = dict.fromkeys(keys, MISS)
    if lookup.kind == "xref":
        texts = {key if isinstance(key, str) else key[0]: key for key in keys}
        kept = store.xrefs.look_up(lookup.xref or name, sorted(texts), reverse=lookup.reverse)
        answers.update((texts[text], value) for text, value in kept.items())
        return answers
    connector = connections.get(lookup.connection or "")
    if not isinstance(connector, Reads):
        raise ProjectError(f"lookup '{name}': connection '{lookup.connection}' cannot read one record by key")
    for key in keys:
        parts = (key,) if isinstance(key, str) else key
        record = connector.get(lookup.object or "", dict(zip(lookup.find, parts, strict=True)))
        if record is not None:
            value = record.get(lookup.returns or "")
            answers[key] = None if value is None else str(value)
    return answers
