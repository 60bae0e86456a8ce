"""The one guarded write path: intent → call → outcome → receipt.

The intent is committed before the call; from then until its outcome the record is in doubt. After a crash or a lost
answer the target is asked first (``find_existing``), and only then is the call repeated. A key that the journal knows
as done is never sent again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from flowrun.alerts import raise_alert
from flowrun.connector import Item, Receipt, Target, Verdict
from flowrun.errors import Conflict, ConnectorError, DeliveryUnknown, Duplicate, NotFound, Refused, Unavailable
from flowrun.flow.model import Flow, Policy, Retry
from flowrun.logs import log, redact
from flowrun.plan import Mapped, Plan, Rejected, Skipped
from flowrun.store import Failure, Row, Store, fingerprint

SUB_BATCH = 16  # sends whose intents are committed together; look-ups after a crash are at most this many
MOST_RETRY_AFTER = 24 * 3600.0  # seconds; a target that asks for more is asked again after a day

Seams = Callable[[str], None]
"""Called with the name of each seam as it is passed; tests stop there."""

_UNKNOWN = Policy(retry=Retry(8, 2.0, 300.0))
"""What an unknown outcome means when the flow does not say: ask again, a while."""


@dataclass(slots=True)
class Counts:
    """Outcomes of a run. sends: calls to the target; asked: look-ups of doubtful ones."""

    confirmed: int = 0
    unchanged: int = 0
    skipped: int = 0
    dead: int = 0
    retried: int = 0
    sends: int = 0
    asked: int = 0
    warnings: int = 0
    paused: str = ""
    skips: dict[str, int] = field(default_factory=dict)
    outside: str = ""  # the last failure of the outside world


class Writer:
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
    ) -> None:
        """report: called with (row, outcome, words) for each record that reaches an outcome."""
        self.flow = flow
        self.plan = plan
        self.target = target
        self.store = store
        self.counts = Counts()
        self._chance = chance or random.Random()  # noqa: S311 - jitter, no secret
        self._seam = seams or (lambda name: None)
        self._report = report or (lambda row, outcome, words: None)

    def write(self, batch: Sequence[tuple[Row, Mapped | Skipped | Rejected]]) -> None:
        """Bring each record to its next state. Mapped records are sent in sub-batches."""
        to_send: list[tuple[Row, Mapped, str]] = []
        for row, outcome in batch:
            # It may be at the target whatever the flow makes of it now; that is settled first.
            doubtful = not isinstance(outcome, Mapped) and row.state in ("sent", "in_doubt")
            if doubtful and self._find_by(row.body or {}) and not self._not_there(row):
                continue
            if isinstance(outcome, Skipped):
                self._skip(row, outcome)
            elif isinstance(outcome, Rejected):
                self._reject(row, outcome)
            else:
                self.counts.warnings += len(outcome.warnings)
                for warning in outcome.warnings:
                    log().info("warning", flow=row.flow, key=row.key, message=warning)
                to_send.append((row, outcome, outcome.idempotency_key or f"#{row.seq}"))
        each = max(1, self.flow.target.batch)
        size = max(each, SUB_BATCH // each * each)  # whole calls: a part of one is never committed alone
        for start in range(0, len(to_send), size):
            if self.counts.paused:
                return
            self._settle(to_send[start : start + size])

    # -- before sending --------------------------------------------------------------------------------------------

    def _settle(self, batch: Sequence[tuple[Row, Mapped, str]]) -> None:
        """Sort out what needs no send: known, unchanged, found; send the rest."""
        known = self.store.known(self.flow.name, [intent for _, _, intent in batch])
        ready: list[tuple[Row, Mapped, str]] = []
        taken: set[str] = set()
        for row, mapped, intent in batch:
            entry = known.get(intent)
            if self.counts.paused:
                return  # a refused credential is not tried once per record
            if intent in taken:
                continue  # another record of this batch has the same key; it is settled in the next round
            taken.add(intent)
            if entry is not None and entry["state"] == "done":
                if self._known(row, mapped, intent, entry):
                    ready.append((row, mapped, intent))
            elif entry is not None or row.state in ("sent", "in_doubt"):
                if self._ask(row, mapped, intent, entry):
                    ready.append((row, mapped, intent))
            elif self._unchanged(row, mapped):
                with self.store.transaction() as tx:
                    self.store.confirm(
                        tx, row, intent, Receipt(self._object(mapped)), how="unchanged", body=mapped.body
                    )
                self.counts.unchanged += 1
                self._report(row, "unchanged", "")
            else:
                ready.append((row, mapped, intent))
        if ready and not self.counts.paused:
            self._send(ready)

    def _known(self, row: Row, mapped: Mapped, intent: str, entry: Mapping[str, Any]) -> bool:
        """The journal knows the key as done: never sent again, except as a later change of an upsert or update.

        Returns True when it is to be sent all the same.
        """
        same = entry["fingerprint"] == fingerprint(mapped.body)
        if not same and self.flow.target.action != "create":
            return True
        if same:
            with self.store.transaction() as tx:
                self.store.confirm(tx, row, intent, Receipt(entry["target_id"] or ""), how="known", body=mapped.body)
            self.counts.confirmed += 1
            self._report(row, "confirmed", f"was sent before: {entry['target_id']}")
            return False
        earlier = next((r.body for r in self.store.records(seq=int(entry["seq"]))), None) or {}
        changed = ", ".join(_changed(earlier, mapped.body))
        words = f"key '{intent}' was sent before with another body ({changed}); target id {entry['target_id']}"
        twin = Duplicate(words, help="use action: upsert to send changes")
        self._failed(row, mapped, intent, twin, journalled=False, receipt=Receipt(entry["target_id"] or ""))
        return False

    def _not_there(self, row: Row) -> bool:
        """Ask for what was sent, when nothing is to be sent now. True when the target does not hold it."""
        if self.counts.paused:
            return False
        body = dict(row.body or {})
        match = {name: body.get(name) for name in self.flow.target.match}
        return self._ask(row, Mapped(body, row.intent, match), row.intent or f"#{row.seq}", None)

    def _ask(self, row: Row, mapped: Mapped, intent: str, entry: Mapping[str, Any] | None) -> bool:
        """An earlier try may have arrived. Returns True when it has not, so that it is sent now.

        entry: the journal's, when it has one; it may tell of another record, or of this one before it was edited.
        """
        by = self._find_by(row.body or mapped.body)
        if not by:
            log().info("sent again", flow=row.flow, key=row.key, reason="the target cannot be asked")
            return True
        self.counts.asked += 1
        try:
            found = self.target.find(self.flow.target.object, by)
        except ConnectorError as error:
            self._failed(row, mapped, intent, error, journalled=True, in_doubt=True)
            return False
        self._seam("asked")
        if not found:
            return True
        if len(found) > 1:
            ids = ", ".join(receipt.id for receipt in found[:5])
            words = f"{len(found)} objects at the target have {_pairs(by)}: {ids}"
            self._failed(
                row, mapped, intent, Conflict(words, help="keep one of them, then discard or replay"), journalled=False
            )  # the intent stays in doubt, so that a replay asks again
            return False
        own = row.state in ("sent", "in_doubt") and not row.edited
        if entry is not None and not own and entry["fingerprint"] != fingerprint(mapped.body):
            # What arrived is not what this record says.
            self.store.arrived(row.flow, intent, found[0].id)
            return self._known(row, mapped, intent, {**entry, "target_id": found[0].id})
        self._confirm(row, mapped, intent, found[0], how="found", body=row.body or mapped.body)
        return False

    def _find_by(self, body: Mapping[str, Any]) -> dict[str, Any]:
        names = self.flow.target.find_existing
        by = {name: body.get(name) for name in names}
        return by if by and all(value not in (None, "") for value in by.values()) else {}

    def _object(self, mapped: Mapped) -> str:
        return ", ".join(str(value) for value in mapped.match.values()) or (mapped.idempotency_key or "")

    def _unchanged(self, row: Row, mapped: Mapped) -> bool:
        if not self.flow.target.only_changes:
            return False
        return self.store.was_sent(row.flow, self._object(mapped)) == fingerprint(mapped.body)

    # -- sending ---------------------------------------------------------------------------------------------------

    def _send(self, batch: Sequence[tuple[Row, Mapped, str]]) -> None:
        target = self.flow.target
        self._seam("mapped")
        objects = [self._object(mapped) for _, mapped, _ in batch] if target.only_changes else []
        self.store.intend([(row, intent, mapped.body) for row, mapped, intent in batch], self.flow.hash, objects)
        self._seam("intended")
        size = max(1, target.batch)
        for start in range(0, len(batch), size):
            part = batch[start : start + size]
            if self.counts.paused:
                for row, _, intent in part:  # the intent was never sent
                    with self.store.transaction() as tx:
                        self.store.forget_intent(tx, row.flow, intent)
                        paused = Failure("auth", self.counts.paused)
                        self.store.fail(tx, row, paused, state="received", due=self.store.time(), attempts=row.attempts)
                continue
            items = [
                Item(target.object, target.action, mapped.body, mapped.idempotency_key, target.match)
                for _, mapped, _ in part
            ]
            self.counts.sends += len(items)
            verdicts = self._deliver(items)
            self._seam("answered")
            for index, (row, mapped, intent) in enumerate(part):
                verdict = verdicts[index] if index < len(verdicts) else DeliveryUnknown("the connector gave no verdict")
                if isinstance(verdict, Receipt):
                    self._confirm(row, mapped, intent, verdict, how="sent", body=mapped.body)
                else:
                    self._failed(row, mapped, intent, verdict, journalled=True)
            self._seam("settled")

    def _deliver(self, items: Sequence[Item]) -> list[Verdict]:
        """One verdict an item. A batch refused as a whole is halved until the bad record stands alone."""
        try:
            return list(self.target.deliver(items))
        except (Refused, Duplicate, NotFound, Conflict) as error:
            if len(items) == 1:
                return [error]
            half = len(items) // 2
            return [*self._deliver(items[:half]), *self._deliver(items[half:])]
        except ConnectorError as error:
            return [error] * len(items)
        except Exception as error:
            # A mistake in a connector costs the records it was made with, which may have arrived; others go on.
            log().error("connector broke", flow=self.flow.name, error=type(error).__name__, exc_info=True)
            return [DeliveryUnknown(f"the connector broke: {type(error).__name__}")] * len(items)

    def _remember(self, tx: Connection, row: Row, mapped: Mapped, receipt: Receipt) -> None:
        saves = self.plan.saves(row.payload, receipt.response, mapped.lookups)
        if isinstance(saves, Rejected):
            log().warning("not remembered", flow=row.flow, key=row.key, field=saves.field, message=saves.message)
            self.counts.warnings += 1
            return
        for save in saves:
            before = self.store.remember(tx, save.xref, save.source_id, save.target_id)
            if before is not None:
                log().warning("moved", xref=save.xref, source_id=save.source_id, before=before, now=save.target_id)
                self.counts.warnings += 1

    def _confirm(
        self, row: Row, mapped: Mapped, intent: str, receipt: Receipt, *, how: str, body: Mapping[str, Any]
    ) -> None:
        with self.store.transaction() as tx:
            self.store.confirm(tx, row, intent, receipt, how=how, body=body)
            self._remember(tx, row, mapped, receipt)
            if self.flow.target.only_changes:
                self.store.note_sent(tx, row.flow, self._object(mapped), fingerprint(body))
        self.counts.confirmed += 1
        log().info("delivered", flow=row.flow, key=row.key, receipt=receipt.id, how=how)
        self._report(row, "confirmed", receipt.id)

    # -- outcomes that are no receipt ------------------------------------------------------------------------------

    def _skip(self, row: Row, outcome: Skipped) -> None:
        with self.store.transaction() as tx:
            self.store.finish(tx, row, "skipped", outcome.reason)
        self.counts.skipped += 1
        self.counts.skips[outcome.reason] = self.counts.skips.get(outcome.reason, 0) + 1
        self._report(row, "skipped", outcome.reason)

    def _reject(self, row: Row, outcome: Rejected) -> None:
        failure = Failure(outcome.error_class, outcome.message, outcome.field, outcome.help, str(outcome.span))
        policy = self._policy(outcome.error_class)
        tries = row.attempts + 1
        if outcome.error_class in ("network", "rate_limited", "auth"):  # of a live lookup
            self.counts.outside = failure.message
        with self.store.transaction() as tx:
            if policy.pause:
                self.counts.paused = failure.message
                self.store.fail(tx, row, failure, state="received", due=self.store.time())
                self._report(row, "waiting", failure.message)
            elif policy.retry is not None and tries <= policy.retry.times:
                due = self.store.time() + self._pause(policy.retry, tries, None)
                self.store.fail(tx, row, failure, state="received", due=due, attempts=tries)
                self.counts.retried += 1
                self._report(row, "waiting", failure.message)
            else:
                self._bury(tx, row, policy, failure, None)

    def _policy(self, error_class: str) -> Policy:
        found = self.flow.on_error.get(error_class)
        if found is None and error_class == "unknown_outcome":
            return _UNKNOWN
        return found or self.flow.on_error["other"]

    def _failed(
        self,
        row: Row,
        mapped: Mapped,
        intent: str,
        error: ConnectorError,
        *,
        journalled: bool,
        in_doubt: bool = False,
        receipt: Receipt | None = None,
    ) -> None:
        """What the flow says follows from this class of error.

        in_doubt: it was the question that failed. receipt: of what the target holds already, where it is known.
        """
        policy = self._policy(error.error_class)
        unknown = in_doubt or isinstance(error, DeliveryUnknown)
        words = error.message + "".join(
            f"; {code}: {text}" if code else f"; {text}" for code, text in error.details[:5]
        )
        failure = Failure(
            error.error_class,
            redact(f"{error.code}: {words}" if error.code else words),  # some targets repeat what they were sent
            error.field,
            redact(error.help),
            str(self.flow.target.span),
        )
        tries = row.attempts + 1
        if policy.finish == "success" and receipt is None:
            receipt = self._twin(row, mapped)
        with self.store.transaction() as tx:
            if journalled and not unknown:
                self.store.forget_intent(tx, row.flow, intent)
            if policy.alert:
                raise_alert(self.store, tx, policy.alert, row.flow, error.error_class, failure.message)
            if isinstance(error, Unavailable) or error.error_class == "auth" or unknown:
                self.counts.outside = failure.message
            if policy.pause:
                self.counts.paused = failure.message
                state = "in_doubt" if unknown else "received"
                self.store.fail(tx, row, failure, state=state, due=self.store.time(), attempts=row.attempts)
                self._report(row, "waiting", failure.message)
            elif policy.finish == "success" and receipt is not None:
                self.store.confirm(tx, row, intent, receipt, how="finished", body=mapped.body, flag=policy.flag)
                if receipt.response:
                    self._remember(tx, row, mapped, receipt)
                self.counts.confirmed += 1
                self._report(row, "confirmed", failure.message)
            elif policy.retry is not None and tries <= policy.retry.times:
                due = self.store.time() + self._pause(policy.retry, tries, getattr(error, "retry_after_secs", None))
                self.store.fail(tx, row, failure, state="in_doubt" if unknown else "received", due=due, attempts=tries)
                self.counts.retried += 1
                self._report(row, "waiting", failure.message)
            else:
                self._bury(tx, row, policy, failure, mapped)
        log().info("failed", flow=row.flow, key=row.key, error_class=error.error_class, message=failure.message)

    def _twin(self, row: Row, mapped: Mapped) -> Receipt:
        """What stands at the target in place of this record, so that its number is remembered; empty when unknown."""
        by = self._find_by(mapped.body)
        try:
            found = self.target.find(self.flow.target.object, by) if by else ()
        except ConnectorError as error:
            log().warning("not remembered", flow=row.flow, key=row.key, message=redact(error.message))
            self.counts.warnings += 1
            found = ()
        return found[0] if len(found) == 1 else Receipt("")

    def _pause(self, retry: Retry, tries: int, retry_after: float | None) -> float:
        """Seconds: exponential with full jitter, and never sooner than the target asked for."""
        most = min(retry.max_wait_secs, retry.wait_secs * 2 ** min(max(0, tries - 1), 30))
        pause = self._chance.uniform(most / 2, most)
        if retry_after is not None:
            pause = max(pause, min(max(0.0, retry_after), MOST_RETRY_AFTER))
        return pause

    def _bury(self, tx: Connection, row: Row, policy: Policy, failure: Failure, mapped: Mapped | None) -> None:
        queue = policy.dead_letter or ("review" if policy.flag else self.flow.name)
        self.store.fail(
            tx,
            row,
            failure,
            state="dead",
            queue=queue,
            flag=policy.flag,
            body=mapped.body if mapped else None,
            flow_hash=self.flow.hash,
        )
        if policy.alert and mapped is None:
            raise_alert(self.store, tx, policy.alert, row.flow, failure.error_class, failure.message)
        self.counts.dead += 1
        where = f"{failure.field}: " if failure.field else ""
        self._report(row, "dead", f"{failure.error_class}: {where}{failure.message}")


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Names of the fields that differ."""
    return [name for name in {**old, **new} if old.get(name) != new.get(name)][:8] or ["order of fields"]


def _pairs(by: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in by.items())
