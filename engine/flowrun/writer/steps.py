"""One step of one record's workflow, through the same guarded path: a step that is done leaves its record open, with
its answer kept in the same transaction; what fails, waits or is in doubt is what it is for any record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from flowrun.connector import Reads, Receipt
from flowrun.errors import ConnectorError, DeliveryUnknown, NotFound, Refused, Unavailable
from flowrun.flow.model import Wait
from flowrun.plan import Mapped, Plan, Rejected, Skipped
from flowrun.store import Ending, Failure, Held, Intent, Row, StepRow
from flowrun.store.circuits import Circuit
from flowrun.writer.calling import Caller, broke
from flowrun.writer.consequences import Outcome
from flowrun.writer.writer import Writer, pairs


class StepWriter(Writer):
    """For one try of one step. done: what it came to, once that is durable. over: nothing more is to be done for this
    record now."""

    def __init__(self, of: Writer, plan: Plan, target: Any, path: str, kind: str, fresh: Sequence[StepRow]) -> None:
        """of: the worker's own, whose counts are added to. plan: of the step, with what it sees. path: "" for what is
        no step. fresh: decisions since the last commit; they are kept with the next one."""
        super().__init__(
            plan.flow, plan, target, of.store, chance=of._chance, seams=of._seam, report=of._report,
            stopping=of._stopping,
        )  # fmt: skip
        self.counts = of.counts
        self._caller = Caller(plan.flow, target, of.store, of.counts)
        self._path, self._kind = path, kind
        self._steps = list(fresh)
        self._mapped: Mapped | None = None
        self._through: Outcome | None = None
        self.done: StepRow | None = None
        self.over = False
        self.lost = False
        """Another worker has taken the record over."""

    def flag(self, row: Row) -> str | None:
        return row.flag if self._through is None else self._through.ending.flag

    # -- what may be done ------------------------------------------------------------------------------------------

    def write_step(self, held: Held, row: Row, mapped: Mapped | Rejected) -> None:
        """Rejected: what an earlier try did is settled first, as for any record."""
        self._mapped = mapped if isinstance(mapped, Mapped) else None
        self._left = {row.lane_id: 1}
        self._failing = self.store.circuits.of(self.flow.target.connection) is not None
        self._turn(held, [(row, mapped)])
        self._finish(held)

    def read_step(self, held: Held, row: Row, mapped: Mapped, expand: Sequence[str]) -> None:
        self._mapped = mapped
        self._left = {row.lane_id: 1}
        self._failing = self.store.circuits.of(self.flow.target.connection) is not None
        found = self._get(mapped, expand)
        self._seam("read")
        self._judge_connection([found], [(row, mapped, "", "", False)])
        if isinstance(found, Receipt):
            self._end(Outcome(Ending(row, "confirmed", receipt=found), "confirmed"))
        else:
            self._failed(row, mapped, "", found)
        self._finish(held)

    def wait_step(self, held: Held, row: Row, mapped: Mapped, wait: Wait, due: float | None) -> None:
        """due: by the store's clock, when it has waited long enough; None at the first look. Nothing is held meanwhile:
        the lane is given back until the next look."""
        self._mapped = mapped
        self._left = {row.lane_id: 1}
        self._failing = self.store.circuits.of(self.flow.target.connection) is not None
        object_ = self.flow.target.object
        found = self._asked(lambda: self.target.find(object_, mapped.body))
        self._seam("looked")
        said = found if isinstance(found, ConnectorError) else Receipt("")
        self._judge_connection([said], [(row, mapped, "", "", False)])
        now = self.store.time()
        due = now + wait.at_most_secs if due is None else due
        if isinstance(found, ConnectorError):
            self._failed(row, mapped, "", found)
        elif found:
            self._end(Outcome(Ending(row, "confirmed", receipt=found[0]), "confirmed"))
        elif now >= due:
            words = f"no {object_} with {pairs(mapped.body)} came within {wait.at_most_secs:g} s"
            self._failed(row, mapped, "", Refused(words))
        else:
            self._steps.append(StepRow(row.seq, self._path, self._kind, "waiting", due=due))
            ending = Ending(row, "received", wait_secs=min(wait.every_secs, due - now), attempts=0, flag=row.flag)
            self._pending.append(Outcome(ending, ""))
            self._settled.add(row.lane_id)
        self._finish(held)

    def _get(self, mapped: Mapped, expand: Sequence[str]) -> Receipt | ConnectorError:
        target, source = self.flow.target, self.target
        if not isinstance(source, Reads):
            return ConnectorError(f"connection '{target.connection}' cannot read one record by its key")
        record = self._asked(lambda: source.get(target.object, mapped.body, expand))
        if isinstance(record, ConnectorError):
            return record
        if record is None:
            return NotFound(f"{target.object} has no record with {pairs(mapped.body)}")
        return Receipt("", response=record)

    def _asked(self, ask: Callable[[], Any]) -> Any:
        """What is asked only: nothing was to be done there, so nothing is ever in doubt."""
        try:
            return ask()
        except DeliveryUnknown as error:
            return Unavailable(error.message, help=error.help)
        except ConnectorError as error:
            return error
        except Exception as error:
            return ConnectorError(broke(self.flow.name, error).message)

    def rests(self, held: Held, row: Row, circuit: Circuit, secs: float) -> None:
        """Its connection is not to be called now."""
        words = f"{circuit.connection} does not answer: {circuit.reason}"
        self.counts.outside = words
        state = "received" if row.state == "received" else "in_doubt"
        failure = Failure("network", words, place=str(self.flow.target.span))
        ending = Ending(row, state, failure=failure, wait_secs=secs, attempts=row.attempts)
        self._pending.append(Outcome(ending, ""))
        self._settled.add(row.lane_id)
        self._finish(held)

    def close(self, held: Held, row: Row, outcome: Skipped | None) -> None:
        """The record's end: every step has its outcome, or it is not for this flow."""
        if outcome is None:
            ending = Ending(row, "confirmed", reason="steps", flag=row.flag, flow_hash=self.flow.hash)
            self._pending.append(Outcome(ending, "confirmed"))
        else:
            ending = Ending(row, "skipped", reason=outcome.reason)
            self._pending.append(Outcome(ending, "skipped", outcome.reason))
        self._finish(held)

    # -- what is other than for a record of one step ---------------------------------------------------------------

    def _intent(self, row: Row, mapped: Mapped) -> str:
        return mapped.idempotency_key or f"#{row.seq}/{self._path}"

    def _placed(self, failure: Failure) -> Failure:
        if not self._path:
            return failure
        field = f"step {self._path}" + (f": {failure.field}" if failure.field else "")
        return Failure(failure.error_class, failure.message, field, failure.help, failure.place)

    def _end(self, outcome: Outcome) -> None:
        ending = outcome.ending
        row = ending.row
        if ending.state == "confirmed":
            sent = self._mapped.body if self._mapped is not None and self._kind == "write" else None
            self.done = StepRow(row.seq, self._path, self._kind, "done", self._answer(ending), sent)
            self._steps.append(self.done)
            on = replace(ending, state="received", reason=None, attempts=0, flag=ending.flag or row.flag)
            self._through = replace(outcome, ending=on, counter="")
            self._pending.append(self._through)
            return
        if ending.state == "dead" and self._path:
            failure = ending.failure
            error = {"class": failure.error_class, "message": failure.message} if failure is not None else {}
            sent = self._mapped.body if self._mapped is not None and self._kind == "write" else None
            self._steps.append(StepRow(row.seq, self._path, self._kind, "failed", None, sent, error))
        super()._end(outcome)

    def _answer(self, ending: Ending) -> dict[str, Any]:
        if ending.receipt is not None:
            return {"response": dict(ending.receipt.response)}
        assert self._mapped is not None  # known to the journal from before
        return {"response": dict(self.store.outcomes.answer(ending.row.flow, self._intent(ending.row, self._mapped)))}

    def _finish(self, held: Held) -> None:
        self._commit(held)
        self.over = self.over or self.done is None

    def _commit(self, held: Held, intents: Sequence[Intent] = ()) -> set[int]:
        lost = super()._commit(held, intents)
        self.lost = self.lost or bool(lost)
        self.over = self.over or self.lost
        return lost

    def _tell(self, committed: Iterable[Outcome]) -> None:
        super()._tell(one for one in committed if one is not self._through)
