"""Brings claimed records to their next state. The intent is committed before the call; from then until its outcome the
record is in doubt. After a crash or a lost answer the target is asked first (``find_existing``), and only then is the
call repeated. A key that the journal knows as done is never sent again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from flowrun.alerts import say_begun
from flowrun.connector import Receipt, Target, Verdict
from flowrun.errors import (
    BudgetSpent,
    Conflict,
    ConnectorError,
    DeliveryUnknown,
    Duplicate,
    RateLimited,
    Unavailable,
)
from flowrun.flow.model import Flow
from flowrun.logs import log, redact, tells
from flowrun.masking import Mask, mask_of
from flowrun.pacing.gate import PATIENCE_SECS, patience
from flowrun.plan import Mapped, Plan, Rejected, Skipped
from flowrun.store import Ending, Failure, Held, Intent, Row, StepRow, Store, fingerprint, unfit
from flowrun.store.lanes import boot_time
from flowrun.writer.calling import Caller, Ready, broke
from flowrun.writer.consequences import (
    Outcome,
    consequence,
    failure_of_error,
    failure_of_rejection,
    policy_of,
    waiting,
    without_masked,
)
from flowrun.writer.counts import Counts

SUB_BATCH = 16  # sends whose intents are committed together; look-ups after a crash are at most this many
_REPEATABLE = ("update", "upsert", "delete")
"""By natural key: that the object is there does not tell whether the change arrived, and a repeat is harmless."""
_MOST_PENDING = 512  # outcomes that wait for a commit
_EVERYTHING = Mask([()])

Seams = Callable[[str], None]
"""Called with the name of each seam as it is passed; tests stop there."""


class Writer:
    """Writes for one worker; several workers of a run have one each."""

    def __init__(
        self,
        flow: Flow,
        plan: Plan,
        target: Target,
        store: Store,
        *,
        chance: random.Random | None = None,
        seams: Seams | None = None,
        report: Callable[[Row, str, str], None] | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """report: called with (row, outcome, words) for each record once its outcome is committed. stopping: asked
        before each call; when it says yes, none begins any more, and what had its turn coming is as it was."""
        self.flow = flow
        self.plan = plan
        self.target = target
        self.store = store
        self.counts = Counts()
        self._caller = Caller(flow, target, store, self.counts)
        self._chance = chance or random.Random()  # noqa: S311 - jitter, no secret
        self._seam = seams or (lambda name: None)
        self._report = report or (lambda row, outcome, words: None)
        self._stopping = stopping
        self._pending: list[Outcome] = []
        self._left: dict[int, int] = {}  # lane → records of this claim without an outcome
        self._settled: set[int] = set()  # lanes to give back at the next commit
        self._failing = False
        self._steps: list[StepRow] = []
        """What steps of a workflow came to; it goes with the next commit."""

    def write(
        self, held: Held, outcomes: Sequence[Mapped | Skipped | Rejected], *, failing: bool | None = None
    ) -> None:
        """Bring each record of ``held`` to its next state; ``outcomes`` in the same order. All lanes are given back.

        failing: whether the connection did not answer lately; None: look.
        Records of one lane go one after the other: the next only when the one before is done.
        """
        self._left = {}
        for row in held.rows:
            self._left[row.lane_id] = self._left.get(row.lane_id, 0) + 1
        self._failing = self.store.circuits.of(self.flow.target.connection) is not None if failing is None else failing
        turns: list[list[tuple[Row, Mapped | Skipped | Rejected]]] = []
        turn_of: dict[int, int] = {}
        for row, outcome in zip(held.rows, outcomes, strict=True):
            turn = turn_of.get(row.lane_id, 0)
            turn_of[row.lane_id] = turn + 1
            if turn == len(turns):
                turns.append([])
            turns[turn].append((row, outcome))
        try:
            with patience(lambda: patience_of(held)):
                for batch in turns:
                    self._turn(held, [one for one in batch if self._goes_on(held, one[0])])
                    if self._stops():
                        break
        finally:
            self._commit(held)
            self.store.lanes.release(held, wait_secs=self.counts.rest_secs)

    def _stops(self) -> bool:
        return self.counts.stopped or self._stopping()

    def _goes_on(self, held: Held, row: Row) -> bool:
        return row.lane_id in held.fences and row.lane_id not in self._settled

    def _turn(self, held: Held, batch: Sequence[tuple[Row, Mapped | Skipped | Rejected]]) -> None:
        to_send: list[tuple[Row, Mapped, str]] = []
        for row, outcome in batch:
            # It may be at the target whatever the flow makes of it now; that is settled first.
            doubtful = not isinstance(outcome, Mapped) and row.state in ("sent", "in_doubt")
            if doubtful and self._find_by(row.body or {}) and not self._not_there(row):
                continue
            if isinstance(outcome, Skipped):
                self._end(Outcome(Ending(row, "skipped", reason=outcome.reason), "skipped", outcome.reason))
            elif isinstance(outcome, Rejected):
                self._reject(row, outcome)
            else:
                self.counts.warnings += len(outcome.warnings)
                for warning in outcome.warnings:
                    words = mask_of(self.flow).text(warning, row.payload, outcome.body)
                    log().info("warning", flow=row.flow, key=row.key, message=words)
                to_send.append((row, outcome, self._intent(row, outcome)))
            if len(self._pending) >= _MOST_PENDING:
                self._commit(held)
        each = max(1, self.flow.target.batch)
        size = max(each, SUB_BATCH // each * each)  # whole calls: a part of one is never committed alone
        for start in range(0, len(to_send), size):
            if self._stops():
                return
            self._settle(held, to_send[start : start + size])

    def _intent(self, row: Row, mapped: Mapped) -> str:
        """What the journal knows the send by."""
        return mapped.idempotency_key or f"#{row.seq}"

    def _placed(self, failure: Failure) -> Failure:
        """As the person who reads it finds the place."""
        return failure

    # -- before sending --------------------------------------------------------------------------------------------

    def _settle(self, held: Held, batch: Sequence[tuple[Row, Mapped, str]]) -> None:
        """Sort out what needs no send: known, unchanged, found; send the rest."""
        if {intent for _, _, intent in batch} & {one.ending.intent for one in self._pending}:
            self._commit(held)  # the journal must know of a key's earlier send before it is asked
        known = self.store.outcomes.known(self.flow.name, [key for row, _, key in batch if not _is_new(row, key)])
        held_there = self._held_there(batch)
        ready: list[Ready] = []
        taken: set[str] = set()
        for row, mapped, intent in batch:
            if self._stops():
                return  # a refused credential is not tried once per record
            if intent in taken:
                self._settled.add(row.lane_id)  # another record of this batch has the same key; settled at the next
                continue
            taken.add(intent)
            entry = known.get(intent)
            print_ = fingerprint(mapped.body)
            if entry is not None and entry["state"] == "done":
                send = self._known(row, mapped, print_, intent, entry)
            elif entry is not None or row.state in ("sent", "in_doubt"):
                send = self._ask(row, mapped, print_, intent, entry)
            elif self.flow.target.only_changes and held_there.get(mapped.object) == print_:
                send = False
                self._end(Outcome(Ending(row, "confirmed", reason="unchanged"), "unchanged"))
            else:
                send = True
            if send:
                ready.append((row, mapped, intent, print_, entry is not None))
        if ready and not self._stops():
            self._send(held, ready)

    def _held_there(self, batch: Sequence[tuple[Row, Mapped, str]]) -> dict[str, str]:
        if not self.flow.target.only_changes:
            return {}
        return self.store.was_sent(self.flow.name, [mapped.object for _, mapped, _ in batch])

    def _known(self, row: Row, mapped: Mapped, print_: str, intent: str, entry: Mapping[str, Any]) -> bool:
        """The journal knows the key as done: never sent again, except as a later change of an upsert or update.

        Returns True when it is to be sent all the same.
        """
        target_id = entry["target_id"] or ""
        if entry["fingerprint"] == print_:
            reason = "known" if entry["seq"] == row.seq else f"known: {target_id}"
            self._end(Outcome(Ending(row, "confirmed", reason=reason), "confirmed", f"was sent before: {target_id}"))
            return False
        if self.flow.target.action != "create":
            return True
        earlier = next((r.body for r in self.store.records(seq=int(entry["seq"]))), None) or {}
        changed = ", ".join(_changed(earlier, mapped.body))
        words = f"key '{intent}' was sent before with another body ({changed}); target id {target_id}"
        twin = Duplicate(words, help="use action: upsert to send changes")
        # Without an intent: the journal's entry is the earlier record's, and stays.
        self._failed(row, mapped, "", twin, receipt=Receipt(target_id))
        return False

    def _not_there(self, row: Row) -> bool:
        """Ask for what was sent, when nothing is to be sent now. True when the target does not hold it."""
        if self._stops():
            return False
        body = dict(row.body or {})
        match = {name: body.get(name) for name in self.flow.target.match}
        intent = row.intent or f"#{row.seq}"
        entry = self.store.outcomes.known(row.flow, [intent]).get(intent) if self.flow.target.settles_secs else None
        return self._ask(row, Mapped(body, row.intent, match), fingerprint(body), intent, entry)

    def _ask(self, row: Row, mapped: Mapped, print_: str, intent: str, entry: Mapping[str, Any] | None) -> bool:
        """An earlier try may have arrived. Returns True when it has not, so that it is sent now.

        entry: the journal's, when it has one; it may tell of another record, or of this one before it was edited.
        """
        sent = row.body if row.state in ("sent", "in_doubt") and row.body is not None else mapped.body
        by = self._find_by(sent) if self.flow.target.action not in _REPEATABLE else {}
        if not by:
            log().info("sent again", flow=row.flow, key=row.key, reason=self._once())
            return True
        self.counts.asked += 1
        try:
            found = self.target.find(self.flow.target.object, by)
        except ConnectorError as error:
            self._failed(row, mapped, intent, error, unknown=True)
            return False
        except Exception as error:
            self._failed(row, mapped, intent, broke(self.flow.name, error), unknown=True)
            return False
        self._seam("asked")
        if not found:
            return self._is_settled(row, intent, entry)
        if len(found) > 1:
            ids = ", ".join(receipt.id for receipt in found[:5])
            words = f"{len(found)} objects at the target have {pairs(by)}: {ids}"
            # Without an intent, so that the journal keeps its doubt and a replay asks again.
            self._failed(row, mapped, "", Conflict(words, help="keep one of them, then discard or replay"))
            return False
        own = row.state in ("sent", "in_doubt") and not row.edited
        if entry is not None and not own and entry["fingerprint"] != print_:
            # What arrived is not what this record says: the journal learns of it, and then this one is judged.
            self.store.outcomes.arrived(row.flow, intent, found[0].id)
            return self._known(row, mapped, print_, intent, {**entry, "target_id": found[0].id})
        self._confirm(row, mapped, intent, found[0], how="found", print_=print_)
        return False

    def _is_settled(self, row: Row, intent: str, entry: Mapping[str, Any] | None) -> bool:
        """Whether an empty answer counts: a search may miss for a while what was just written. The time runs from the
        first such answer, since it is not known when the send ended; no try is burnt by waiting."""
        secs = self.flow.target.settles_secs
        if not secs or entry is None:
            return True
        since = entry["at"] if entry["how"] == "asked" else self.store.outcomes.asked(row.flow, intent)
        left = since + secs - self.store.time()
        if left <= 0:
            return True
        words = f"not found; asked again after settles_after: {secs:g}s"
        failure = Failure("unknown_outcome", words, place=str(self.flow.target.span))
        ending = Ending(row, "in_doubt", failure=failure, wait_secs=left, attempts=row.attempts, intent=intent)
        self._end(Outcome(ending, "", words))
        return False

    def _once(self) -> str:
        if self.flow.target.action in _REPEATABLE:
            return "the same again changes nothing at the target"
        return "the target cannot be asked"

    def _find_by(self, body: Mapping[str, Any]) -> dict[str, Any]:
        names = self.flow.target.find_existing
        by = {name: body.get(name) for name in names}
        return by if by and all(value not in (None, "") for value in by.values()) else {}

    # -- sending ---------------------------------------------------------------------------------------------------

    def _send(self, held: Held, ready: Sequence[Ready]) -> None:
        target = self.flow.target
        self._seam("mapped")
        intents = [
            Intent(row, intent, mapped.body, print_, there, mapped.object if target.only_changes else "")
            for row, mapped, intent, print_, there in ready
        ]
        lost = self._commit(held, intents)
        self._seam("intended")
        size = max(1, target.batch)
        going = [one for one in ready if one[0].seq not in lost]
        for start in range(0, len(going), size):
            part = going[start : start + size]
            if not self._stops() and boot_time() > held.deadline:
                self.store.lanes.renew(held)
            part = [one for one in part if self._goes_on(held, one[0])]  # a lost lane's new worker asks for these
            if self._stops():
                for row, _, intent, _, _ in part:
                    self._unsent(row, intent)
                continue
            if not part:
                continue
            verdicts = self._caller.deliver(held, part)
            self._seam("answered")
            self._judge_connection(verdicts, part)
            for (row, mapped, intent, print_, _), verdict in zip(part, verdicts, strict=True):
                if isinstance(verdict, Receipt):
                    self._confirm(row, mapped, intent, verdict, how="sent", print_=print_)
                else:
                    self._failed(row, mapped, intent, verdict, forget=True)

    def _unsent(self, row: Row, intent: str) -> None:
        """The intent was committed and not used: the connection, or the run, stopped before its turn."""
        words, rest = self.counts.paused or self.counts.held, self.counts.rest_secs
        kind = "auth" if self.counts.paused else "rate_limited" if rest else "network"
        failure = Failure(kind, words) if words else None
        ending = Ending(
            row, "received", failure=failure, wait_secs=rest, attempts=row.attempts, journal="forget", intent=intent
        )
        self._end(Outcome(ending, ""))

    def _judge_connection(self, verdicts: Sequence[Verdict], sent: Sequence[Ready]) -> None:
        """Failures in a row stop the flow's sends before every record has burnt its tries; an answer ends that."""
        verdicts = [v for v in verdicts if not isinstance(v, BudgetSpent)]  # nobody was asked
        if not verdicts:
            return
        down = [v for v in verdicts if isinstance(v, Unavailable | DeliveryUnknown) and not isinstance(v, RateLimited)]
        name = self.flow.target.connection
        if len(down) < len(verdicts):
            if self._failing and self.store.circuits.close(name):
                log().info("circuit closed", connection=name)
            self._failing = False
        elif down:
            self._failing = True
            circuit = self.store.circuits.failed(
                name, self._of_nobody(redact(down[-1].message), sent), chance=self._chance.random()
            )
            if circuit.state == "open":
                self.counts.held = f"{name} does not answer: {circuit.reason}"
                log().warning("circuit open", connection=name, reason=circuit.reason, failures=circuit.failures)

    def _of_nobody(self, words: str, sent: Sequence[Ready]) -> str:
        """What is said of a connection, kept in the open and shown beside any flow: without what the records of this
        call mask; without any of their values, where payloads are encrypted."""
        mask = _EVERYTHING if self.store.database.cover.encrypts else mask_of(self.flow)
        for row, mapped, *_ in sent if mask else ():
            words = mask.text(words, row.payload, mapped.body)
        return words

    # -- outcomes --------------------------------------------------------------------------------------------------

    def _confirm(self, row: Row, mapped: Mapped, intent: str, receipt: Receipt, *, how: str, print_: str) -> None:
        watched = mapped.object if self.flow.target.only_changes else ""
        found = how == "found"
        ending = Ending(
            row, "confirmed", reason="found" if found else None, attempts=row.attempts + (how == "sent"),
            journal="done", intent=intent, receipt=receipt, how=how, xrefs=self._saves(row, mapped, receipt),
            object=watched,
            # After a question it is known that it stands there, not what it says.
            print_=print_ if how == "sent" else "",
            event="asked" if found else "", detail={"found": receipt.id} if found else None, flow_hash=self.flow.hash,
        )  # fmt: skip
        if tells("info"):
            log().info("delivered", flow=row.flow, key=row.key, receipt=receipt.id, how=how)
        self._end(Outcome(ending, "confirmed", receipt.id))

    def _saves(self, row: Row, mapped: Mapped, receipt: Receipt) -> list[tuple[str, str, str]]:
        saves = self.plan.saves(row.payload, receipt.response, mapped.lookups)
        if isinstance(saves, Rejected):
            words = mask_of(self.flow).text(saves.message, row.payload, mapped.body)
            log().warning("not remembered", flow=row.flow, key=row.key, field=saves.field, message=words)
            self.counts.warnings += 1
            return []
        kept = []
        for save in saves:
            if why := unfit(save.source_id) or unfit(save.target_id):
                log().warning("not remembered", flow=row.flow, key=row.key, xref=save.xref, message=f"an id {why}")
                self.counts.warnings += 1
            else:
                kept.append((save.xref, save.source_id, save.target_id))
        return kept

    def _reject(self, row: Row, rejected: Rejected) -> None:
        failure = self._placed(without_masked(self.flow, failure_of_rejection(rejected), row))
        if rejected.error_class in ("network", "rate_limited", "auth"):  # of a live lookup
            self.counts.outside = failure.message
        if policy_of(self.flow, rejected.error_class).pause:
            self.counts.paused = failure.message
        self._end(consequence(self.flow, row, failure, self._chance))

    def _failed(
        self,
        row: Row,
        mapped: Mapped,
        intent: str,
        error: ConnectorError,
        *,
        forget: bool = False,
        unknown: bool = False,
        receipt: Receipt | None = None,
    ) -> None:
        """forget: nothing was done under the intent, unless the outcome is unknown. unknown: the question failed."""
        if isinstance(error, BudgetSpent):
            self._rest(row, intent, error, unknown=unknown)
            return
        policy = policy_of(self.flow, error.error_class)
        unknown = unknown or isinstance(error, DeliveryUnknown)
        failure = self._placed(without_masked(self.flow, failure_of_error(error, self.flow), row, mapped.body))
        if policy.finish == "success" and receipt is None:
            receipt = self._twin(row, mapped)
        if isinstance(error, Unavailable) or error.error_class == "auth" or unknown:
            self.counts.outside = failure.message
        if policy.pause:
            self.counts.paused = failure.message
            if policy.pause == "connection":
                words = self._of_nobody(failure.message, [(row, mapped, intent, "", False)])
                self.store.circuits.pause(self.flow.target.connection, words)
        outcome = consequence(
            self.flow, row, failure, self._chance, intent=intent, forget=forget, unknown=unknown,
            burnt=not self.counts.held, body=mapped.body, receipt=receipt, connection=self.flow.target.connection,
            retry_after=getattr(error, "retry_after_secs", None), key=mapped.idempotency_key or f"#{row.seq}",
        )  # fmt: skip
        if outcome.ending.state == "confirmed" and receipt is not None and receipt.response:
            outcome = replace(outcome, ending=replace(outcome.ending, xrefs=self._saves(row, mapped, receipt)))
        self._end(outcome)
        log().info("failed", flow=row.flow, key=row.key, error_class=error.error_class, message=failure.message)

    def _rest(self, row: Row, intent: str, error: BudgetSpent, *, unknown: bool) -> None:
        """What is held goes back until it is the connection's turn; a person's lookout for it is no attempt."""
        self.counts.held = error.message
        self.counts.rest_secs = max(self.counts.rest_secs, error.retry_after_secs or 0.0)
        self._end(waiting(self.flow, row, error, intent, unknown=unknown))
        log().info("waits", flow=row.flow, key=row.key, message=error.message)

    def _twin(self, row: Row, mapped: Mapped) -> Receipt:
        """What stands at the target in place of this record, so that its number is remembered; empty when unknown."""
        by = self._find_by(mapped.body)
        try:
            found = self.target.find(self.flow.target.object, by) if by else ()
        except Exception as error:
            words = redact(error.message) if isinstance(error, ConnectorError) else type(error).__name__
            words = mask_of(self.flow).text(words, row.payload, mapped.body)
            log().warning("not remembered", flow=row.flow, key=row.key, message=words)
            self.counts.warnings += 1
            found = ()
        return found[0] if len(found) == 1 else Receipt("")

    # -- commits ---------------------------------------------------------------------------------------------------

    def _end(self, outcome: Outcome) -> None:
        """Note an outcome for the next commit, and whether its lane is through."""
        self._pending.append(outcome)
        lane = outcome.ending.row.lane_id
        self._left[lane] -= 1
        done = outcome.ending.state in ("confirmed", "skipped")
        if not done or self._left[lane] == 0:
            self._settled.add(lane)  # what comes after a failure waits its turn

    def _commit(self, held: Held, intents: Sequence[Intent] = ()) -> set[int]:
        """One transaction: the outcomes so far and the intents to come. Returns the seqs that may not be sent."""
        pending, self._pending = self._pending, []
        settled, self._settled = self._settled, set()
        steps, self._steps = self._steps, []
        if not pending and not intents and not settled:
            return set()
        answered = any(one.ending.how in ("sent", "found") for one in pending)
        lost, moved, begun = self.store.outcomes.advance(
            held,
            [one.ending for one in pending],
            intents,
            flow_hash=self.flow.hash,
            settled=settled,
            incidents=[(one.ending.row.seq, one.incident) for one in pending if one.incident is not None],
            answered=self.flow.target.connection if answered else "",
            steps=steps,
        )
        say_begun(begun)
        for one in moved:
            log().warning("moved", xref=one.name, source_id=one.source_id, before=one.before, now=one.now)
            self.counts.warnings += 1
        self._tell([one for one in pending if one.ending.row.seq not in lost])
        for row in (*(one.row for one in intents), *(one.ending.row for one in pending)):
            if row.seq in lost:
                self.counts.lost += 1
                log().info("taken over", flow=row.flow, key=row.key)
        if pending:
            self._seam("settled")
        return lost

    def _tell(self, committed: Iterable[Outcome]) -> None:
        for one in committed:
            if one.counter:
                self.counts.count(one.counter)
            if one.counter == "skipped":
                self.counts.skips[one.words] = self.counts.skips.get(one.words, 0) + 1
            self.counts.retried += one.retried
            self._report(one.ending.row, one.counter or "waiting", one.words)


def patience_of(held: Held) -> float:
    """Seconds that who holds lanes may sleep for a turn: it looks at its deadline before each send."""
    return min(PATIENCE_SECS, held.deadline - boot_time())


def _is_new(row: Row, intent: str) -> bool:
    """A record without an idempotency key of its own, at its first try: the journal cannot know it."""
    return intent == f"#{row.seq}" and row.state == "received" and row.attempts == 0 and row.reason is None


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Names of the fields that differ."""
    return [name for name in {**old, **new} if old.get(name) != new.get(name)][:8] or ["order of fields"]


def pairs(by: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in by.items())
