"""What a replay would do now, found without sending or changing anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from flowrun.flow.model import Flow
from flowrun.plan import Mapped, Plan, Rejected, Skipped
from flowrun.runner.mapping import apply_all
from flowrun.store import Row, Store, fingerprint
from flowrun.store.causes import Cluster, clusters

BATCH = 256  # letters mapped together; the cross-references of a batch are one query a table


@dataclass(slots=True)
class Preview:
    """Each letter is in exactly one of these.

    sent: would go to the target. asked: may be there already, so the target is asked first. known: stands there by the
    journal, nothing is sent. failing: by the cause they would die of now. skipped: by reason.
    bodies: what the first letters of ``sent`` and ``asked`` become, by seq.
    """

    sent: list[Row] = field(default_factory=list)
    asked: list[Row] = field(default_factory=list)
    known: list[Row] = field(default_factory=list)
    failing: list[Cluster] = field(default_factory=list)
    skipped: dict[str, list[Row]] = field(default_factory=dict)
    bodies: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        going = len(self.sent) + len(self.asked) + len(self.known)
        return going + sum(len(one.rows) for one in self.failing) + sum(map(len, self.skipped.values()))


def preview(
    flow: Flow, plan: Plan, store: Store, rows: Sequence[Row], connections: Mapping[str, Any], *, bodies: int = 1
) -> Preview:
    """Map letters through the flow as it is now. connections: for live look-ups, which read. bodies: how many to keep.

    What the target will say to a body is not known: a record that it refused stands under ``sent`` again.
    """
    found = Preview()
    failing: list[Row] = []
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        outcomes = list(zip(part, apply_all(flow, plan, store, part, connections), strict=True))
        intents = {row.seq: one.idempotency_key or f"#{row.seq}" for row, one in outcomes if isinstance(one, Mapped)}
        journal = store.outcomes.known(flow.name, sorted(set(intents.values())))
        for row, outcome in outcomes:
            if isinstance(outcome, Skipped):
                found.skipped.setdefault(outcome.reason, []).append(row)
            elif isinstance(outcome, Rejected):
                failing.append(_failed(row, outcome.error_class, outcome.field, outcome.message, outcome.help, outcome))
            else:
                entry = journal.get(intents[row.seq])
                twin = _judge(flow, found, row, outcome, entry, bodies)
                if twin:
                    failing.append(_failed(row, "duplicate", "", twin, "use action: upsert to send changes", None))
    found.failing = clusters(failing)
    return found


def _judge(flow: Flow, found: Preview, row: Row, mapped: Mapped, entry: Mapping[str, Any] | None, bodies: int) -> str:
    """As the writer will: by what the journal knows of the key. Returns why it will fail, or nothing."""
    if entry is not None and entry["state"] == "done":
        if entry["fingerprint"] == fingerprint(mapped.body):
            found.known.append(row)
            return ""
        if flow.target.action == "create":
            return f"key '{mapped.idempotency_key}' was sent before with another body"
    (found.asked if entry is not None and entry["state"] != "done" else found.sent).append(row)
    if len(found.bodies) < bodies:
        found.bodies[row.seq] = mapped.body
    return ""


def _failed(row: Row, class_: str, path: str, message: str, help_: str, rejected: Rejected | None) -> Row:
    """The letter as it would lie there after the replay."""
    return replace(
        row, error_class=class_, error_field=path, error_message=message, error_help=help_,
        error_place=str(rejected.span) if rejected else None,
    )  # fmt: skip


def differences(old: Any, new: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """(path, old, new) of each value that differs, in the order of the old body; what is absent is None."""
    if isinstance(old, dict) and isinstance(new, dict):
        names = {**old, **new}
        return [
            one
            for name in names
            for one in differences(old.get(name), new.get(name), f"{path}.{name}" if path else str(name))
        ]
    if isinstance(old, list) and isinstance(new, list):
        longest = max(len(old), len(new))
        pairs = [(at, old[at] if at < len(old) else None, new[at] if at < len(new) else None) for at in range(longest)]
        return [one for at, before, after in pairs for one in differences(before, after, f"{path}[{at}]")]
    return [] if old == new else [(path, old, new)]
