"""Which step of a workflow comes next, told by what its steps came to so far.

The walk goes through the steps from the first one each time and passes over those that have a mark; so a workflow that
was killed anywhere goes on where it was, and one whose flow was changed goes on in the flow as it is now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from flowrun.flow.model import Choose, Flow, Step
from flowrun.plan import Mapped, Plan, Rejected, Skipped
from flowrun.workflow.marks import Mark
from flowrun.workflow.pieces import Pieces

Asked = Mapped | Skipped | Rejected
Ask = Callable[[Plan], Asked]
"""The outcome of a plan for the record, with what it looks up."""


@dataclass(frozen=True, slots=True)
class Act:
    """A step to be done now. outcome: what it sends, or what it looks for."""

    step: Step
    path: str
    plan: Plan
    outcome: Mapped
    mark: Mark | None = None  # of an earlier try


@dataclass(frozen=True, slots=True)
class Broken:
    """A step whose values or conditions could not be worked out. step None: the record is not for this flow."""

    step: Step | None
    path: str
    outcome: Skipped | Rejected


class Walk:
    """Of one record. marks: step path → what is known of it; decisions are added, and ``fresh`` holds what is to be
    kept of them."""

    def __init__(self, pieces: Pieces, ask: Ask, marks: Iterable[Mark] = ()) -> None:
        self._pieces = pieces
        self._ask = ask
        self.marks = {mark.path: mark for mark in marks}
        self.fresh: list[Mark] = []

    @property
    def flow(self) -> Flow:
        return self._pieces.flow

    def next(self) -> Act | Broken | None:
        """None: every step has its outcome."""
        if not self.marks:
            opening = self._ask(self._pieces.opening.given({}))
            if not isinstance(opening, Mapped):
                return Broken(None, "", opening)
        return self._through(self.flow.steps, {})

    def add(self, mark: Mark) -> None:
        self.marks[mark.path] = mark

    def _through(self, steps: Iterable[Step], seen: dict[str, Any]) -> Act | Broken | None:
        """seen: what ``steps`` is in expressions; the answers of these steps are added."""
        for step in steps:
            mark = self.marks.get(step.id)
            if mark is None and step.when is not None:
                held = self._ask(self._pieces.holds(step.when).given(seen))
                if not isinstance(held, Mapped):
                    return Broken(step, step.id, held)
                if not held.body["when"]:
                    mark = self._decide(Mark(step.id, step.kind, "skipped"))
            if mark is not None and mark.state == "skipped":
                continue
            if isinstance(step.does, Choose):
                found = self._chosen(step, step.does, mark, seen)
                if found is not None:
                    return found
                continue
            if mark is None or mark.state != "done":
                plan = self._pieces.step(step).given(seen)
                outcome = self._ask(plan)
                return (
                    Act(step, step.id, plan, outcome, mark)
                    if isinstance(outcome, Mapped)
                    else Broken(step, step.id, outcome)
                )
            seen[step.id] = dict(mark.answer)
        return None

    def _chosen(self, step: Step, choose: Choose, mark: Mark | None, seen: dict[str, Any]) -> Act | Broken | None:
        if mark is None:
            said = self._ask(self._pieces.branch(choose).given(seen))
            if not isinstance(said, Mapped):
                return Broken(step, step.id, said)
            place = said.body["when"]
            name = choose.branches[place].name if place >= 0 else None
            mark = self._decide(Mark(step.id, "choose", "done", {"branch": name, "place": place}))
        seen[step.id] = {"branch": mark.answer["branch"]}
        place = int(mark.answer["place"])
        return self._through(choose.branches[place].steps, seen) if 0 <= place < len(choose.branches) else None

    def _decide(self, mark: Mark) -> Mark:
        self.marks[mark.path] = mark
        self.fresh.append(mark)
        return mark
