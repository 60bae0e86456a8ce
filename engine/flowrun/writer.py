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
from flowrun.connector import Item, Receipt, Target
from flowrun.errors import Conflict, ConnectorError, DeliveryUnknown, Duplicate, Unavailable
from flowrun.flow.model import Flow, Policy, Retry
from flowrun.logs import log
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
            if isinstance(outcome, Skipped):
                self._skip(row, outcome)
            elif isinstance(outcome, Rejected):
                self._reject(row, outcome)
            else:
                self.counts.warnings += len(outcome.warnings)
                for warning in outcome.warnings:
                    log().info("warning", flow=row.flow, key=row.key, message=warning)
                to_send.append((row, outcome, outcome.idempotency_key or f"#{row.seq}"))
        size = max(1, min(SUB_BATCH, self.flow.target.batch)) if self.flow.target.batch > 1 else SUB_BATCH
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
            if intent in taken:
                continue  # another record of this batch has the same key; it is settled in the next round
            taken.add(intent)
            if entry is not None and entry["state"] == "done":
                if self._known(row, mapped, intent, entry):
                    ready.append((row, mapped, intent))
            elif entry is not None or row.state in ("sent", "in_doubt"):
                if self._ask(row, mapped, intent):
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
        if ready:
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
        self._failed(row, mapped, intent, Duplicate(words, help="use action: upsert to send changes"), journalled=False)
        return False

    def _ask(self, row: Row, mapped: Mapped, intent: str) -> bool:
        """An earlier try may have arrived. Returns True when it has not, so that it is sent now."""
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
                row, mapped, intent, Conflict(words, help="keep one of them, then discard or replay"), journalled=True
            )
            return False
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
        self.store.intend([(row, intent, mapped.body) for row, mapped, intent in batch], self.flow.hash)
        self._seam("intended")
        size = max(1, target.batch)
        for start in range(0, len(batch), size):
            part = batch[start : start + size]
            if self.counts.paused:
                for row, _, intent in part:  # the intent was never sent
                    with self.store.transaction() as tx:
                        self.store.forget_intent(tx, row.flow, intent)
                        self.store.fail(
                            tx, row, Failure("auth", self.counts.paused), state="received", due=self.store.time()
                        )
                continue
            items = [
                Item(target.object, target.action, mapped.body, mapped.idempotency_key, target.match)
                for _, mapped, _ in part
            ]
            self.counts.sends += len(items)
            try:
                verdicts = list(self.target.deliver(items))
            except ConnectorError as error:
                verdicts = [error] * len(items)
            self._seam("answered")
            for index, (row, mapped, intent) in enumerate(part):
                verdict = verdicts[index] if index < len(verdicts) else DeliveryUnknown("the connector gave no verdict")
                if isinstance(verdict, Receipt):
                    self._confirm(row, mapped, intent, verdict, how="sent", body=mapped.body)
                else:
                    self._failed(row, mapped, intent, verdict, journalled=True)
            self._seam("settled")

    def _confirm(
        self, row: Row, mapped: Mapped, intent: str, receipt: Receipt, *, how: str, body: Mapping[str, Any]
    ) -> None:
        saves = self.plan.saves(row.payload, receipt.response)
        with self.store.transaction() as tx:
            self.store.confirm(tx, row, intent, receipt, how=how, body=body)
            if isinstance(saves, Rejected):
                log().warning("not remembered", flow=row.flow, key=row.key, field=saves.field, message=saves.message)
                self.counts.warnings += 1
            else:
                for save in saves:
                    self.store.remember(tx, save.xref, save.source_id, save.target_id)
            if self.flow.target.only_changes:
                self.store.note_sent(tx, row.flow, self._object(mapped), fingerprint(mapped.body))
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
        with self.store.transaction() as tx:
            self._bury(tx, row, policy, failure, None)

    def _policy(self, error_class: str) -> Policy:
        found = self.flow.on_error.get(error_class)
        if found is None and error_class == "unknown_outcome":
            return _UNKNOWN
        return found or self.flow.on_error["other"]

    def _failed(
        self, row: Row, mapped: Mapped, intent: str, error: ConnectorError, *, journalled: bool, in_doubt: bool = False
    ) -> None:
        """What the flow says follows from this class of error."""
        policy = self._policy(error.error_class)
        unknown = in_doubt or isinstance(error, DeliveryUnknown)
        words = error.message + "".join(
            f"; {code}: {text}" if code else f"; {text}" for code, text in error.details[:5]
        )
        failure = Failure(
            error.error_class,
            f"{error.code}: {words}" if error.code else words,
            error.field,
            error.help,
            str(self.flow.target.span),
        )
        tries = row.attempts + (0 if in_doubt else 1)
        with self.store.transaction() as tx:
            if journalled and not unknown:
                self.store.forget_intent(tx, row.flow, intent)
            if policy.alert:
                raise_alert(self.store, tx, policy.alert, row.flow, error.error_class, failure.message)
            if isinstance(error, Unavailable) or error.error_class == "auth" or unknown:
                self.counts.outside = failure.message
            if policy.pause:
                self.counts.paused = failure.message
                self.store.fail(tx, row, failure, state="in_doubt" if unknown else "received", due=self.store.time())
                self._report(row, "waiting", failure.message)
            elif policy.finish == "success":
                self.store.confirm(tx, row, intent, Receipt(""), how="finished", body=mapped.body, flag=policy.flag)
                self.counts.confirmed += 1
                self._report(row, "confirmed", failure.message)
            elif policy.retry is not None and tries <= policy.retry.times:
                due = self.store.time() + self._pause(policy.retry, tries, getattr(error, "retry_after_secs", None))
                self.store.fail(tx, row, failure, state="in_doubt" if unknown else "received", due=due)
                self.counts.retried += 1
                self._report(row, "waiting", failure.message)
            else:
                self._bury(tx, row, policy, failure, mapped)
        log().info("failed", flow=row.flow, key=row.key, error_class=error.error_class, message=failure.message)

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
