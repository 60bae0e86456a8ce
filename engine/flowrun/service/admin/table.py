"""The table of routes: a line each."""

from __future__ import annotations

from flowrun.service.admin import changing as c
from flowrun.service.admin import looking as lk
from flowrun.service.admin import shapes as s
from flowrun.service.admin.routes import MOST_NUMBER, Param, Route
from flowrun.store.schema import FINAL, OPEN

_FLOW = Param("flow", "Only of this flow.", most=100)
_LIMIT = Param("limit", "At most so many.", int, 50, 1, 200)
_BEFORE = Param("before", "Only what is older: next of the page before.", int, None, 0, MOST_NUMBER)
_RECORDS = (
    _FLOW,
    Param("key", "Only of this key."),
    Param("state", "Only in this state.", choices=(*OPEN, "dead", *FINAL)),
    Param("queue", "Only dead letters of this queue.", most=100),
    Param("run", "Only what this run took in.", int, None, 0, 2**31 - 1),
    Param("after", "Only what came later: next of the page before.", int, 0, 0, MOST_NUMBER),
    _LIMIT,
)

ROUTES = (
    Route("GET", "status", "viewer", "How all flows are.", lk.status, s.StatusShown),
    Route("GET", "flows", "viewer", "The flows that are served.", lk.list_flows, s.Flows),
    Route("GET", "flows/{flow}", "viewer", "One flow.", lk.show_flow, s.FlowShown),
    Route("GET", "runs", "viewer", "Past runs, the newest first.", lk.list_runs, s.Runs, (_FLOW, _LIMIT, _BEFORE)),
    Route("GET", "runs/{run:int}", "viewer", "One run.", lk.show_run, s.RunShown),
    Route("GET", "records", "viewer", "Records in order of arrival.", lk.list_records, s.Records, _RECORDS),
    Route("GET", "records/{seq:int}", "viewer", "One record.", lk.show_record, s.RecordShown),
    Route("GET", "trace", "viewer", "The life of one object in all flows.", lk.trace, s.Lives,
          (Param("key", "A record's key, or the id that a system gave."), _FLOW)),
    Route("GET", "letters", "viewer", "Dead letters by cause, the largest first.", lk.list_letters, s.Causes,
          (_FLOW, Param("queue", "Only in this queue.", most=100))),
    Route("POST", "letters/{seq:int}/edit", "operator", "Correct the record of a dead letter.", c.edit_letter,
          s.RecordShown, body=s.Edit, changes=True),
    Route("POST", "letters/preview", "operator", "What a replay would do now; nothing is sent.", c.preview_letters,
          s.PreviewShown, body=s.Choice),
    Route("POST", "letters/replay", "operator", "Deliver again.", c.replay_letters, s.Changed, body=s.Replay,
          changes=True),
    Route("POST", "letters/discard", "operator", "Give up, for a reason.", c.discard_letters, s.Changed,
          body=s.Discard, changes=True),
    Route("GET", "cursors", "viewer", "How far each source was read.", lk.list_cursors, s.Cursors),
    Route("GET", "cursors/{flow}", "viewer", "Where a cursor stood, the newest first.", lk.show_cursor, s.Cursors,
          (_LIMIT,)),
    Route("PUT", "cursors/{flow}", "admin", "Move a cursor.", c.set_cursor, s.CursorNow, body=s.CursorGiven,
          changes=True),
    Route("POST", "cursors/{flow}/undo", "admin", "Take back the last move.", c.undo_cursor, s.CursorNow,
          changes=True),
    Route("GET", "schedules", "viewer", "What is done by the clock.", lk.list_schedules, s.Schedules),
    Route("POST", "schedules/{flow}/{kind}/run", "operator", "Do it now.", c.run_schedule, s.Schedules, changes=True),
    Route("GET", "pauses", "viewer", "What is paused.", lk.list_pauses, s.Pauses),
    Route("POST", "pauses", "operator", "Pause a flow or a connection.", c.pause, s.PauseShown, body=s.PauseGiven,
          changes=True),
    Route("DELETE", "pauses/{kind}/{name}", "operator", "Let it go on.", c.resume, s.Changed, changes=True),
    Route("GET", "alerts", "viewer", "Open alerts, the oldest first.", lk.list_alerts, s.Alerts,
          (Param("past", "What is over instead, the last first.", bool, False),)),
    Route("POST", "alerts/{id:int}/acknowledge", "operator", "Take one in hand.", c.acknowledge_alert, s.AlertShown,
          changes=True),
    Route("GET", "connections", "viewer", "Circuits, budgets, tokens.", lk.list_connections, s.Connections),
    Route("GET", "audit", "admin", "Who changed what, the newest first.", lk.list_audit, s.Audit, (_LIMIT, _BEFORE)),
    Route("GET", "tokens", "admin", "Who may ask here; never the tokens themselves.", lk.list_tokens, s.Tokens),
    Route("DELETE", "tokens/{name}", "admin", "Revoke a token.", c.revoke_token, s.Changed, changes=True),
)  # fmt: skip
