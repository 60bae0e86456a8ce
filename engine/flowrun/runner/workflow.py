"""Workflows of claimed records: each goes from step to step until it ends, fails or has to wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from flowrun.errors import BudgetSpent
from flowrun.flow.model import Flow, Read, Wait, Write
from flowrun.plan import Plan, Rejected, Skipped
from flowrun.runner.mapping import apply_all
from flowrun.store import Held, Row, StepRow, Store
from flowrun.store.lanes import boot_time
from flowrun.workflow import Act, Asked, Broken, Mark, Pieces, Walk
from flowrun.writer import StepWriter, Writer


class Workflows:
    """For one worker. writer: of the worker; its counts tell what came of the records."""

    def __init__(
        self, flow: Flow, env: Mapping[str, Any], store: Store, writer: Writer, connections: Mapping[str, Any]
    ) -> None:
        self.flow = flow
        self.store = store
        self.writer = writer
        self._pieces = Pieces(flow, env)
        self._connections = {flow.target.connection: writer.target, **connections}

    def write(self, held: Held) -> None:
        """Bring each record as far as it goes now. All lanes are given back. A later record of a lane begins when the
        one before has ended. Raises BudgetSpent: of a live look-up."""
        counts = self.writer.counts
        kept = self.store.steps.of([row.seq for row in held.rows])
        stays: set[int] = set()
        try:
            for row in held.rows:
                if counts.stopped or self.writer._stopping():
                    break
                if row.lane_id in held.fences and row.lane_id not in stays:
                    marks = [_mark(one) for one in kept.get(row.seq, ())]
                    if not self._record(held, row, marks):
                        stays.add(row.lane_id)
        except BudgetSpent as error:
            counts.rest_secs = max(counts.rest_secs, error.retry_after_secs or 0.0)
            raise
        finally:
            self.store.lanes.release(held, wait_secs=counts.rest_secs)

    def _record(self, held: Held, row: Row, marks: list[Mark]) -> bool:
        """Whether it ended as confirmed or skipped."""

        def ask(plan: Plan) -> Asked:
            return apply_all(plan.flow, plan, self.store, [row], self._connections)[0]

        walk = Walk(self._pieces, ask, marks)
        while not self.writer.counts.stopped and not self.writer._stopping():
            if boot_time() > held.deadline:
                self.store.lanes.renew(held)
                if row.lane_id not in held.fences:
                    return False
            found = walk.next()
            step = self._begin(walk, found, row)
            if isinstance(found, Act):
                self._act(held, row, found, step)
            elif found is None or isinstance(found.outcome, Skipped):
                outcome = None if found is None else self._skipped(walk, found)
                if isinstance(outcome, Rejected):
                    step.write_step(held, row, outcome)
                else:
                    step.close(held, row, outcome)
                    return not step.lost
            else:
                step.write_step(held, row, found.outcome)
            if step.done is None or step.over:
                return False
            walk.add(_mark(step.done))
            row = replace(row, state="received", attempts=0, body=None, intent=None, reason=None, flag=step.flag(row))
        return False

    def _begin(self, walk: Walk, found: Act | Broken | None, row: Row) -> StepWriter:
        fresh = [StepRow(row.seq, one.path, one.kind, one.state, one.answer or None) for one in walk.fresh]
        walk.fresh.clear()
        step = found.step if found is not None else None
        if isinstance(found, Act):
            plan = found.plan
        elif step is not None and isinstance(step.does, Read | Write | Wait):
            plan = self._pieces.step(step)
        else:
            plan = self._pieces.opening
        connector = self._connections[plan.flow.target.connection]
        path = found.path if found is not None else ""
        return StepWriter(self.writer, plan, connector, path, step.kind if step is not None else "", fresh)

    def _act(self, held: Held, row: Row, act: Act, step: StepWriter) -> None:
        name = act.plan.flow.target.connection
        circuit = self.store.circuits.of(name) if name != self.flow.target.connection else None
        if circuit is not None and circuit.state != "failing":
            wait = circuit.wait_secs or (0.0 if self.store.circuits.probe(name) else 1.0)
            if wait > 0:
                step.rests(held, row, circuit, wait)
                return
        if isinstance(act.step.does, Read):
            step.read_step(held, row, act.outcome, act.step.does.expand)
        elif isinstance(act.step.does, Wait):
            step.wait_step(held, row, act.outcome, act.step.does, act.mark.due if act.mark is not None else None)
        else:
            step.write_step(held, row, act.outcome)

    def _skipped(self, walk: Walk, found: Broken) -> Skipped | Rejected:
        """A look-up's ``on_miss: skip`` skips the record; not when something was written for it already."""
        assert isinstance(found.outcome, Skipped)
        written = [mark.path for mark in walk.marks.values() if mark.kind == "write" and mark.state == "done"]
        if not written:
            return found.outcome
        words = f"lookup '{found.outcome.reason}' says skip, but {', '.join(written)} was written already"
        place = found.step.span if found.step is not None else self.flow.source.span
        return Rejected("bad_data", "", words, place)


def _mark(row: StepRow) -> Mark:
    return Mark(row.path, row.kind, row.state, row.answer or {}, row.sent, row.due)
