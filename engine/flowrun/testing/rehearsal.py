"""A workflow gone through with the answers that a test gives: no network, nothing waits, and a failure is for good."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from flowrun.flow.model import FlowTest, Write
from flowrun.lookups import Snapshot
from flowrun.plan import Mapped, Plan, Rejected, Skipped
from flowrun.testing.comparison import NOTHING, Difference, compare
from flowrun.workflow import Act, Asked, Mark, Pieces, Walk


@dataclass(slots=True)
class Rehearsed:
    """steps: in the order in which they were done, each ``{id, sent, failed, skipped}``. outcome: of the record; its
    body is empty."""

    steps: list[dict[str, Any]] = field(default_factory=list)
    outcome: Asked = field(default_factory=lambda: Mapped({}))


def rehearse(
    plan: Plan, record: Mapping[str, Any], snapshot: Snapshot, answers: Mapping[str, Mapping[str, Any]]
) -> Rehearsed:
    """answers: step id → ``{response}`` or ``{error: {class, message}}``. A step that writes needs none."""
    done = Rehearsed()

    def ask(piece: Plan) -> Asked:
        outcome = piece.apply(record, snapshot)
        assert isinstance(outcome, Mapped | Skipped | Rejected)  # the snapshot of a test wants nothing
        return outcome

    walk = Walk(Pieces(plan.flow, plan.env), ask)
    while True:
        found = walk.next()
        done.steps += [_decided(mark) for mark in walk.fresh]
        walk.fresh.clear()
        if found is None:
            return done
        if not isinstance(found, Act):
            done.outcome = found.outcome
            if isinstance(found.outcome, Rejected) and found.step is not None:
                done.steps.append({"id": found.step.id, "failed": found.outcome.error_class})
            return done
        entry: dict[str, Any] = {"id": found.step.id, "sent": found.outcome.body}
        done.steps.append(entry)
        given = answers.get(found.step.id) or {}
        if error := _failure(given, found):
            entry["failed"] = error.error_class
            done.outcome = error
            return done
        walk.add(Mark(found.path, found.step.kind, "done", {"response": given.get("response") or {}}))


def _decided(mark: Mark) -> dict[str, Any]:
    return {"id": mark.path, "skipped": True} if mark.state == "skipped" else {"id": mark.path}


def _failure(given: Mapping[str, Any], act: Act) -> Rejected | None:
    where = f"step {act.path}"
    error = given.get("error")
    if error is not None:
        return Rejected(str(error.get("class", "other")), where, str(error.get("message", "")), act.step.span)
    if "response" not in given and not isinstance(act.step.does, Write):
        words = f"the test gives no answer to step '{act.step.id}'"
        help = f"given: {{ steps: {{ {act.step.id}: {{ response: … }} }} }}"
        return Rejected("other", where, words, act.step.span, help)
    return None


def expects_failure(test: FlowTest) -> bool:
    return any(one.get("failed") for one in test.expect_steps)


def compared(test: FlowTest, done: Rehearsed) -> Iterator[Difference]:
    """Steps that are named must be done in this order; others are not compared."""
    place = 0
    for wanted in test.expect_steps:
        name = wanted["id"]
        at = next((n for n in range(place, len(done.steps)) if done.steps[n]["id"] == name), None)
        if at is None:
            before = any(one["id"] == name for one in done.steps[:place])
            yield Difference(f"step {name}", "done here", "done before" if before else "not done")
            continue
        place = at + 1
        found = done.steps[at]
        for word in ("failed", "skipped"):
            if found.get(word) != (wanted.get(word) or None):
                said = wanted.get(word) or "done"
                actual = found.get(word) or "done"
                yield Difference(f"step {name}", _word(word, said), _word(word, actual))
        for field_, value in (wanted.get("sent") or {}).items():
            yield from compare(f"{name}.{field_}", value, found.get("sent", {}).get(field_, NOTHING), subset=True)


def _word(word: str, said: Any) -> str:
    if said == "done":
        return "done"
    return "skipped" if word == "skipped" else f"failed: {said}"
