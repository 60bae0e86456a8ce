"""What may be looked at."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from flowrun.errors import ProjectError
from flowrun.runner.following import follow
from flowrun.runner.status import status_of
from flowrun.service.admin import shapes as s
from flowrun.service.admin.routes import Call, Problem
from flowrun.store.causes import clusters

MOST_LETTERS = 20_000  # looked at in one call; they stand in memory, beside all that the service does


def status(call: Call) -> s.StatusShown:
    found = status_of(call.store, _flows(call), list(call.deployment.project.connections))
    return s.StatusShown(
        at=found.at, flows=[asdict(one) for one in found.flows],
        connections=[asdict(one) for one in found.connections], needs=list(found.needs),
    )  # fmt: skip


def list_flows(call: Call) -> s.Flows:
    return s.Flows([_flow(call, name) for name in call.deployment.flows])


def show_flow(call: Call) -> s.FlowShown:
    name = call.path["flow"]
    if name not in call.deployment.flows:
        raise Problem(404, f"no flow is named '{name}'", help=f"flows: {', '.join(call.deployment.flows)}")
    return _flow(call, name)


def _flow(call: Call, name: str) -> s.FlowShown:
    flow = call.deployment.flows[name].flow
    return s.FlowShown(
        flow=name, file=flow.file, source=flow.source.connection, target=flow.target.connection,
        action=flow.target.action, hash=flow.hash, masked=bool(flow.mask),
    )  # fmt: skip


def _flows(call: Call) -> dict[str, Any]:
    return {name: one.flow for name, one in call.deployment.flows.items()}


def list_runs(call: Call) -> s.Runs:
    limit = call.query["limit"]
    found = [_run(one) for one in call.store.runs(call.query["flow"], limit, call.query["before"])]
    return s.Runs(found, found[-1].id if len(found) == limit else None)


def show_run(call: Call) -> s.RunShown:
    found = call.store.runs(limit=1, before=call.path["run"] + 1)
    if not found or found[0]["id"] != call.path["run"]:
        raise Problem(404, f"there is no run {call.path['run']}")
    return _run(found[0])


def _run(one: Any) -> s.RunShown:
    return s.RunShown(
        id=one["id"], flow=one["flow"], environment=one["environment"], kind=one["kind"], flow_hash=one["flow_hash"],
        started_at=s.time_of(one["started_at"]), ended_at=s.time_or_none(one["ended_at"]),
        counts=json.loads(one["counts"]) if one["counts"] else {},
    )  # fmt: skip


def list_records(call: Call) -> s.Records:
    q = call.query
    rows = call.store.records(
        run=q["run"], flow=q["flow"], key=q["key"], state=q["state"], queue=q["queue"], after=q["after"],
        limit=q["limit"],
    )  # fmt: skip
    shown = [s.record_of(row, call.mask(row.flow)) for row in rows]
    return s.Records(shown, rows[-1].seq if len(rows) == q["limit"] else None)


def show_record(call: Call) -> s.RecordShown:
    rows = call.store.records(seq=call.path["seq"], limit=1)
    if not rows:
        raise Problem(404, f"there is no record {call.path['seq']}")
    return s.record_of(rows[0], call.mask(rows[0].flow))


def trace(call: Call) -> s.Lives:
    def opened(name: str) -> Any:
        if name not in call.deployment.flows:
            raise ProjectError(f"no flow is named '{name}'")
        one = call.deployment.flows[name]
        return one.flow, one.plan

    if call.query["key"] is None:
        raise Problem(422, "whose life? ?key=…")
    lives = follow(call.store, call.masks, call.query["key"], call.query["flow"], opened)
    return s.Lives(
        [
            s.LifeShown(
                flow=life.row.flow, key=life.row.key, version=life.row.version, state=life.row.state,
                edited=life.row.edited, link=life.link,
                events=[s.EventShown(s.time_of(one.at), one.event, one.words, one.who) for one in life.events],
            )
            for life in lives
        ]
    )  # fmt: skip


def list_letters(call: Call) -> s.Causes:
    flow, queue = call.query["flow"], call.query["queue"]
    rows = call.store.records(flow=flow, queue=queue, state="dead", limit=MOST_LETTERS + 1)
    found = clusters(rows[:MOST_LETTERS])
    shown = [s.cause_of(one, call.mask(one.flow)) for one in found]
    return s.Causes(shown, min(len(rows), MOST_LETTERS), len(rows) > MOST_LETTERS)


def list_cursors(call: Call) -> s.Cursors:
    return s.Cursors([_cursor(one) for one in call.store.cursors.newest()])


def show_cursor(call: Call) -> s.Cursors:
    found = call.store.cursors.history(call.known_flow(call.path["flow"]), call.query["limit"])
    return s.Cursors([_cursor(one) for one in found])


def _cursor(one: Any) -> s.CursorShown:
    return s.CursorShown(one["flow"], one["value"], one["run"], s.time_of(one["at"]))


def list_schedules(call: Call) -> s.Schedules:
    return s.Schedules(
        [
            s.ScheduleShown(
                flow=one.flow, kind=one.kind, due=s.time_of(one.due), running=one.worker is not None,
                started_at=s.time_or_none(one.started_at), ended_at=s.time_or_none(one.ended_at), error=one.error,
            )
            for one in call.store.schedules.all()
        ]
    )  # fmt: skip


def list_pauses(call: Call) -> s.Pauses:
    found = call.store.pauses.all()
    return s.Pauses([s.PauseShown(one.kind, one.name, one.reason, one.who, s.time_of(one.since)) for one in found])


def list_alerts(call: Call) -> s.Alerts:
    book = call.store.alerts
    return s.Alerts([alert_of(one) for one in (book.history() if call.query["past"] else book.open())])


def alert_of(one: Any) -> s.AlertShown:
    return s.AlertShown(
        id=one.id, state=one.state, kind=one.kind, flow=one.flow, connection=one.connection, channel=one.channel,
        count=one.count, message=one.message, place=one.place, first_at=s.time_of(one.first_at),
        last_at=s.time_of(one.last_at), resolved_at=s.time_or_none(one.resolved_at), acknowledged_by=one.ack_by,
        escalated=bool(one.level),
    )  # fmt: skip


def list_connections(call: Call) -> s.Connections:
    found = status_of(call.store, _flows(call), list(call.deployment.project.connections)).connections
    return s.Connections(
        [s.ConnectionShown(**{**asdict(one), "token_ends": s.time_or_none(one.token_ends)}) for one in found]
    )


def list_audit(call: Call) -> s.Audit:
    limit = call.query["limit"]
    found = call.store.audited(limit, call.query["before"])
    shown = [s.AuditShown(one["id"], s.time_of(one["at"]), one["who"], one["action"], one["detail"]) for one in found]
    return s.Audit(shown, shown[-1].id if len(shown) == limit else None)


def list_tokens(call: Call) -> s.Tokens:
    return s.Tokens(
        [
            s.TokenShown(
                name=one.name, role=one.role, created_at=s.time_of(one.created_at), created_by=one.created_by,
                used_at=s.time_or_none(one.used_at), revoked_at=s.time_or_none(one.revoked_at),
            )
            for one in call.store.access.all()
        ]
    )  # fmt: skip
