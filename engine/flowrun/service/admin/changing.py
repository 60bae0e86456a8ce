"""What may be changed; each change stands in the audit with the name of the token."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from flowrun.errors import ProjectError
from flowrun.runner.preview import preview
from flowrun.service.admin import shapes as s
from flowrun.service.admin.looking import alert_of
from flowrun.service.admin.routes import Call, Problem
from flowrun.store import Row
from flowrun.store.choosing import chosen
from flowrun.store.correcting import put


def edit_letter(call: Call) -> s.RecordShown:
    """The letter as it is then; it stays dead until it is replayed."""
    rows = call.store.records(seq=call.path["seq"], limit=1)
    if not rows:
        raise Problem(404, f"there is no record {call.path['seq']}")
    row, given, mask = rows[0], call.body, call.mask(rows[0].flow)
    if row.state != "dead":
        raise Problem(409, f"record {row.seq} is {row.state}, no dead letter")
    if (given.record is None) == (given.set is None):
        raise Problem(422, "either the whole 'record', or 'set' with values by path")
    payload = copy.deepcopy(row.payload)
    if given.record is not None:
        payload = mask.restored(given.record, payload)
    for path, value in (given.set or {}).items():
        put(payload, path, _always(value))
    if payload != row.payload and not call.store.letters.edit(row, payload, call.who):
        raise Problem(409, f"record {row.seq} is no dead letter any more")
    return s.record_of(call.store.records(seq=row.seq, limit=1)[0], mask)


def _always(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


def preview_letters(call: Call) -> s.PreviewShown:
    name = call.known_flow(call.body.flow)
    if name not in call.deployment.flows:
        raise Problem(409, f"flow '{name}' is not there any more")
    one, mask = call.deployment.flows[name], call.mask(name)
    rows = _chosen(call, call.body.keys, call.body.cause, call.body.all)
    found = preview(one.flow, one.plan, call.store, rows, call.deployment.connections, bodies=1)
    payloads = {row.seq: row.payload for row in rows}
    bodies = [mask.body(body, payloads[seq]) for seq, body in found.bodies.items()]
    failing = [(cluster, mask.row(cluster.example)) for cluster in found.failing]
    return s.PreviewShown(
        sent=len(found.sent),
        asked=len(found.asked),
        known=len(found.known),
        skipped={reason: len(members) for reason, members in found.skipped.items()},
        failing=[
            s.FailingShown(
                error_class=cluster.error_class, field=row.error_field or "", message=row.error_message or "",
                letters=len(cluster.rows), keys=[member.key for member in cluster.rows[:5]],
            )
            for cluster, row in failing
        ],
        body=bodies[0] if bodies else None,
    )  # fmt: skip


def replay_letters(call: Call) -> s.Changed:
    """Put back durably, at their old places; the service delivers them."""
    rows = _chosen(call, call.body.keys, call.body.cause, call.body.all)
    letters = call.store.letters
    changed = (letters.replay_as_ran if call.body.as_ran else letters.replay)(rows, call.who)
    call.wake()
    return s.Changed(changed)


def discard_letters(call: Call) -> s.Changed:
    rows = _chosen(call, call.body.keys, call.body.cause, False)
    changed = call.store.letters.discard(rows, call.body.reason, call.who)
    call.wake()
    return s.Changed(changed)


def _chosen(call: Call, keys: list[str], cause: str | None, all_: bool) -> list[Row]:
    if bool(keys) + bool(cause) + all_ != 1:
        raise Problem(422, "which ones? one of: keys, cause, all")
    flow = call.known_flow(call.body.flow)
    try:
        return chosen(call.store, flow, keys, cause, all_, verb="replay")
    except ProjectError as error:
        raise Problem(404, error.message, help=error.help) from None


def set_cursor(call: Call) -> s.CursorNow:
    flow = _at_rest(call)
    before = call.store.cursors.current(flow)
    call.store.cursors.set(flow, call.body.value, call.who)
    return s.CursorNow(flow, before, call.body.value)


def undo_cursor(call: Call) -> s.CursorNow:
    flow = _at_rest(call)
    before = call.store.cursors.current(flow)
    if before is None:
        raise Problem(409, f"{flow} has no cursor")
    return s.CursorNow(flow, before, call.store.cursors.undo(flow, call.who))


def _at_rest(call: Call) -> str:
    """A pass that is on would move the cursor with its next page. Raises Problem."""
    flow = call.known_flow(call.path["flow"])
    if any(one.flow == flow and one.worker is not None for one in call.store.schedules.all()):
        raise Problem(409, f"a pass of {flow} is on", help="pause the flow, and come again when the pass is over")
    return flow


def run_schedule(call: Call) -> s.Schedules:
    flow, kind = call.path["flow"], call.path["kind"]
    if not call.store.schedules.now(flow, kind, call.who):
        names = ", ".join(f"{one.flow}/{one.kind}" for one in call.store.schedules.all()) or "none"
        raise Problem(404, f"there is no {kind} of {flow}", help=f"schedules: {names}")
    call.wake()
    found = [one for one in call.store.schedules.all() if (one.flow, one.kind) == (flow, kind)]
    return s.Schedules(
        [
            s.ScheduleShown(
                flow=one.flow, kind=one.kind, due=s.time_of(one.due), running=one.worker is not None,
                started_at=s.time_or_none(one.started_at), ended_at=s.time_or_none(one.ended_at), error=one.error,
            )
            for one in found
        ]
    )  # fmt: skip


def pause(call: Call) -> s.PauseShown:
    kind, name = call.body.kind, call.body.name
    known = call.deployment.flows if kind == "flow" else call.deployment.project.connections
    if name not in known:
        raise Problem(404, f"no {kind} is named '{name}'", help=f"there are: {', '.join(known)}")
    if not call.store.pauses.pause(kind, name, call.body.reason, call.who):
        raise Problem(409, f"{kind} {name} is paused already")
    one = next(one for one in call.store.pauses.all() if (one.kind, one.name) == (kind, name))
    return s.PauseShown(one.kind, one.name, one.reason, one.who, s.time_of(one.since))


def resume(call: Call) -> s.Changed:
    kind, name = call.path["kind"], call.path["name"]
    if not call.store.pauses.resume(kind, name, call.who):
        raise Problem(404, f"no {kind} '{name}' is paused")
    call.wake()
    return s.Changed(1)


def acknowledge_alert(call: Call) -> s.AlertShown:
    number = call.path["id"]
    found = call.store.alerts.acknowledge(number, call.who)
    if found is not None:
        return alert_of(found)
    if call.store.alerts.get(number) is None:
        raise Problem(404, f"there is no alert {number}")
    raise Problem(409, f"alert {number} is over")


def revoke_token(call: Call) -> s.Changed:
    if not call.store.access.revoke(call.path["name"], call.who):
        raise Problem(404, f"there is no token '{call.path['name']}'")
    return s.Changed(1)
