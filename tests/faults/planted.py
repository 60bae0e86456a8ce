"""Bugs to plant: each takes away one thing that keeps orders whole. A test that stays green with one is worth nothing."""

from __future__ import annotations

from typing import Any

import pytest

from flowrun.store import Held
from flowrun.store import statements as st
from flowrun.store.inbox import Inbox
from flowrun.store.lanes import Lanes
from flowrun.store.outcomes import Outcomes


def no_fence(patch: pytest.MonkeyPatch) -> None:
    """Who lost its lanes is heard all the same."""
    patch.setattr(Lanes, "still_held", lambda self, tx, held, ids: set(ids))


def any_fence(patch: pytest.MonkeyPatch) -> None:
    """Who lost its lanes is heard as long as they are there, whoever holds them now."""
    held = Lanes.still_held

    def still_held(lanes: Lanes, tx: Any, mine: Held, ids: Any) -> set[int]:
        there = dict(st.HELD.run(tx, ids=sorted(ids)).all())
        return held(lanes, tx, Held("", there, [], 0.0), ids)

    patch.setattr(Lanes, "still_held", still_held)


def no_intent(patch: pytest.MonkeyPatch) -> None:
    """Nothing is noted before it is sent."""
    patch.setattr(Outcomes, "_intend", lambda self, tx, intents, flow_hash, now: set())


def no_deadline(patch: pytest.MonkeyPatch) -> None:
    """A call begins however late it is."""
    patch.setattr("flowrun.writer.writer.boot_time", lambda: 0.0)


def no_end(patch: pytest.MonkeyPatch) -> None:
    """A request leaves however late it is."""
    patch.setattr("flowrun.writer.calling.boot_time", lambda: 0.0)


def no_supersede(patch: pytest.MonkeyPatch) -> None:
    """What was overtaken while it waited is sent."""
    patch.setattr(Inbox, "_supersede", lambda self, tx, flow, overtaken, now: None)


def never_late(patch: pytest.MonkeyPatch) -> None:
    no_deadline(patch)
    no_end(patch)


BUGS = {bug.__name__: bug for bug in (no_fence, any_fence, no_intent, no_deadline, no_end, no_supersede, never_late)}
