"""A plan as a file: what would be done, enough to do exactly that, and a hash over all of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from flowrun.errors import FlowrunError, ProjectError
from flowrun.masking import Mask, mask_of
from flowrun.plan import Mapped
from flowrun.planning.changes import ABSENT, Change
from flowrun.planning.making import Entry, Proposal
from flowrun.store import fingerprint
from flowrun.values import decode_json, encode_json

FORM = 1
_ONLY_TO_APPLY = ("payload", "body", "before", "idempotency_key", "match", "fingerprint", "asked", "lane", "head")


class PlanRefused(FlowrunError):
    """A plan that must not be applied. moved: one line for each thing that is no longer as planned."""

    def __init__(self, message: str, *, moved: tuple[str, ...] = (), help: str = "") -> None:
        super().__init__(message, help=help)
        self.moved = moved


def document(proposal: Proposal, values: Mapping[str, Any], made_at: str) -> dict[str, Any]:
    """The whole plan as plain JSON. values: the environment's; only their fingerprint is kept."""
    flow = proposal.flow
    body: dict[str, Any] = {
        "form": FORM,
        "flow": flow.name,
        "flow_hash": flow.hash,
        "environment": proposal.environment,
        "values": fingerprint(dict(values)),
        "target": {"connection": flow.target.connection, "object": flow.target.object, "action": flow.target.action},
        "made_at": made_at,
        "read": proposal.read,
        "known": proposal.known,
        "cursor_before": proposal.cursor_before,
        "cursor_after": proposal.cursor_after,
        "lookups": {
            name: [[list(key) if isinstance(key, tuple) else key, answer] for key, answer in answers.items()]
            for name, answers in proposal.lookups.items()
        },
        "guard": proposal.guard,
        "totals": proposal.totals(),
        "records": [_record(entry) for entry in proposal.entries],
    }
    return {**body, "hash": fingerprint(body)}


def masked(proposal: Proposal) -> Proposal:
    """The proposal as it may be shown; what is applied is the one it was made of."""
    mask = mask_of(proposal.flow)
    return replace(proposal, entries=[_masked(entry, mask) for entry in proposal.entries]) if mask else proposal


def _masked(entry: Entry, mask: Mask) -> Entry:
    record = entry.row.payload
    body = entry.outcome.body if isinstance(entry.outcome, Mapped) else None

    def value(field: str, one: Any) -> Any:
        return one if one is ABSENT else mask.body(mask.value(field, one), record)

    changes = tuple(
        replace(
            one, old=value(one.field, one.old), new=value(one.field, one.new),
            because=tuple(mask.step(step, one.field, record, body) for step in one.because),
        )
        for one in entry.changes
    )  # fmt: skip
    return replace(
        entry, changes=changes, why=mask.text(entry.why, record, body, entry.field),
        help=mask.text(entry.help, record, body, entry.field),
        warnings=tuple(mask.text(one, record, body) for one in entry.warnings),
    )  # fmt: skip


def report(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What a person or a pipeline wants to know of a plan: without the records and bodies themselves."""
    kept = {name: value for name, value in plan.items() if name not in ("lookups", "values", "hash")}
    kept["records"] = [
        {name: value for name, value in one.items() if name not in _ONLY_TO_APPLY and value not in (None, "", [], ())}
        for one in plan["records"]
    ]
    return kept


def write_plan(path: Path, plan: Mapping[str, Any]) -> None:
    """Readable by nobody else, since it holds what would be sent."""
    aside = path.with_name(path.name + ".tmp")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(encode_json(plan) + b"\n")
    aside.replace(path)


def read_plan(path: Path) -> dict[str, Any]:
    """Raises ProjectError when it is no plan, PlanRefused when it was changed after it was made."""
    try:
        plan = decode_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ProjectError(f"{path} cannot be read as a plan: {error}") from None
    if not isinstance(plan, dict) or "hash" not in plan or not isinstance(plan.get("records"), list):
        raise ProjectError(f"{path} is no plan", help="make one: flowrun plan FLOW --output plan.json")
    if plan.get("form") != FORM:
        raise ProjectError(f"{path} was made by another version of flowrun", help="make it again: flowrun plan")
    rest = {name: value for name, value in plan.items() if name != "hash"}
    if fingerprint(rest) != plan["hash"]:
        raise PlanRefused(
            f"{path} was changed after it was made", help="a plan is applied as it is, or made again: flowrun plan"
        )
    return plan


def _record(entry: Entry) -> dict[str, Any]:
    row, mapped = entry.row, entry.outcome
    made: dict[str, Any] = {
        "key": row.key,
        "version": row.version,
        "lane": row.lane,
        "seq": row.seq if row.seq > 0 else None,
        "action": entry.action,
        "why": entry.why,
        "place": entry.place,
        "help": entry.help,
        "field": entry.field,
        "error_class": entry.error_class,
        "receipt": entry.receipt,
        "warnings": list(entry.warnings),
        "changes": [_change(one) for one in entry.changes],
        "asked": entry.asked,
        "before": entry.before,
        "head": list(entry.head) if entry.head is not None else None,
        "fingerprint": fingerprint(row.payload),
        "payload": row.payload if row.seq < 0 else None,
    }
    if isinstance(mapped, Mapped):
        made |= {"body": mapped.body, "idempotency_key": mapped.idempotency_key, "match": dict(mapped.match)}
    return made


def _change(one: Change) -> dict[str, Any]:
    made: dict[str, Any] = {"field": one.field}
    if one.old is not ABSENT:
        made["old"] = one.old
    if one.new is not ABSENT:
        made["new"] = one.new
    if not one.known:
        made["old_known"] = False
    return {**made, "because": list(one.because), "place": one.place}
