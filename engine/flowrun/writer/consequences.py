"""What follows from an error, as the flow's ``on_error`` says. Pure: an Ending comes out, nothing is written."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from flowrun.alerts import placed
from flowrun.connector import Receipt
from flowrun.errors import BudgetSpent, ConnectorError
from flowrun.flow.model import Flow, Policy, Retry
from flowrun.logs import redact
from flowrun.masking import mask_of
from flowrun.pacing.headers import MOST_TOLD_SECS
from flowrun.plan import Rejected
from flowrun.store import Ending, Failure, Row
from flowrun.store.alert_rows import Incident

_UNKNOWN = Policy(retry=Retry(8, 2.0, 300.0))
"""What an unknown outcome means when the flow does not say: ask again, a while."""


_NAME = re.compile(r"[\w.:/$#()\[\] -]{1,120}")  # a path of any system; no quotes, braces, commas


class Outcome(msgspec.Struct, frozen=True):
    """An ending with the counter it adds to and the words for the person who watches."""

    ending: Ending
    counter: str
    words: str = ""
    incident: Incident | None = None
    retried: bool = False


def policy_of(flow: Flow, error_class: str) -> Policy:
    found = flow.on_error.get(error_class)
    if found is None and error_class == "unknown_outcome":
        return _UNKNOWN
    return found or flow.on_error["other"]


def failure_of_error(error: ConnectorError, flow: Flow) -> Failure:
    """In words that are safe to keep: some targets repeat what they were sent, secrets included."""
    words = error.message + "".join(f"; {code}: {text}" if code else f"; {text}" for code, text in error.details[:5])
    return Failure(
        error.error_class,
        redact(f"{error.code}: {words}" if error.code else words),
        _name(error.field),
        redact(error.help),
        str(flow.target.span),
    )


def _name(field: str) -> str:
    """What a target calls the field it complains of, "" when it is no name: some put what they were sent there."""
    return redact(field) if _NAME.fullmatch(field) else ""


def failure_of_rejection(outcome: Rejected) -> Failure:
    return Failure(outcome.error_class, outcome.message, outcome.field, outcome.help, str(outcome.span))


def without_masked(flow: Flow, failure: Failure, row: Row, body: Any = None) -> Failure:
    """In words that quote nothing of what the flow masks."""
    mask = mask_of(flow)
    if not mask:
        return failure
    message = mask.text(failure.message, row.payload, body, failure.field)
    help_ = mask.text(failure.help, row.payload, body, failure.field)
    field = mask.text(failure.field, row.payload, body)
    return Failure(failure.error_class, message, field, help_, failure.place)


def consequence(
    flow: Flow,
    row: Row,
    failure: Failure,
    chance: random.Random,
    *,
    intent: str = "",
    forget: bool = False,
    unknown: bool = False,
    burnt: bool = True,
    body: Mapping[str, Any] | None = None,
    retry_after: float | None = None,
    receipt: Receipt | None = None,
    connection: str = "",
    key: str = "",
) -> Outcome:
    """What the flow says follows from this failure.

    forget: nothing was done under ``intent``. unknown: the record may be at the target, so it stays in doubt.
    burnt: whether the try counts (not while the connection is known to be down). receipt: of what the target holds
    already, where it is known. retry_after: seconds the target asked for. connection: where it was met,
    when that is known; a live lookup's is not. key: under which it was sent, for a replay as it ran.
    """
    policy = policy_of(flow, failure.error_class)
    tries = row.attempts + 1
    journal: Any = "forget" if forget and not unknown else ""
    waiting = "in_doubt" if unknown else "received"
    incident = _incident(flow, row, failure, policy, connection, lasting=True)
    detail = {"class": failure.error_class, "field": failure.field, "message": failure.message}
    if policy.pause or not burnt:
        ending = Ending(
            row, waiting, failure=failure, wait_secs=0.0, attempts=row.attempts, journal=journal, intent=intent
        )
        return Outcome(ending, "", failure.message, incident)
    if policy.finish == "success" and receipt is not None:
        ending = Ending(
            row, "confirmed", reason="finished", flag=policy.flag, attempts=tries,
            journal="done" if intent else "", intent=intent, receipt=receipt, how="finished",
            event="asked", detail={**detail, "found": receipt.id}, flow_hash=flow.hash,
        )  # fmt: skip
        incident = _incident(flow, row, failure, policy, connection, lasting=False)
        return Outcome(ending, "confirmed", failure.message, incident)
    if policy.retry is not None and tries <= policy.retry.times:
        wait = pause_secs(policy.retry, tries, retry_after, chance)
        ending = Ending(
            row, waiting, failure=failure, wait_secs=wait, attempts=tries, journal=journal, intent=intent,
            event="retried", detail={**detail, "try": tries, "wait_secs": round(wait, 3)}, flow_hash=flow.hash,
        )  # fmt: skip
        return Outcome(ending, "", failure.message, incident, retried=True)
    queue = policy.dead_letter or ("review" if policy.flag else flow.name)
    if key:
        detail["intent"] = key
    ending = Ending(
        row, "dead", failure=failure, attempts=tries if intent else row.attempts, queue=queue, flag=policy.flag,
        journal=journal, intent=intent, body=body, event="dead", detail=detail, flow_hash=flow.hash,
    )  # fmt: skip
    where = f"{failure.field}: " if failure.field else ""
    return Outcome(ending, "dead", f"{failure.error_class}: {where}{failure.message}", incident)


def waiting(flow: Flow, row: Row, error: BudgetSpent, intent: str, *, unknown: bool) -> Outcome:
    """It was not its connection's turn: nothing was sent, so no try is drawn and nobody is told.

    unknown: what an earlier try did is still not known.
    """
    wait = error.retry_after_secs or 0.0
    ending = Ending(
        row, "in_doubt" if unknown else "received", failure=failure_of_error(error, flow), wait_secs=wait,
        attempts=row.attempts, journal="" if unknown else "forget", intent=intent, event="waited",
        detail={"message": error.message, "wait_secs": round(wait, 3)}, flow_hash=flow.hash,
    )  # fmt: skip
    return Outcome(ending, "", error.message)


def _incident(
    flow: Flow, row: Row, failure: Failure, policy: Policy, connection: str, *, lasting: bool
) -> Incident | None:
    if not policy.alert:
        return None
    message = f"{failure.field}: {failure.message}" if failure.field else failure.message
    return placed(
        Incident(
            policy.alert, failure.error_class, message, flow=row.flow, connection=connection, owner=flow.owner,
            key=row.key, place=failure.place, lasting=lasting,
        )
    )  # fmt: skip


def pause_secs(retry: Retry, tries: int, retry_after: float | None, chance: random.Random) -> float:
    """Exponential with jitter over the upper half, and never sooner than the target asked for."""
    most = min(retry.max_wait_secs, retry.wait_secs * 2 ** min(max(0, tries - 1), 30))
    pause = chance.uniform(most / 2, most)
    if retry_after is not None:
        pause = max(pause, min(max(0.0, retry_after), MOST_TOLD_SECS))
    return pause
