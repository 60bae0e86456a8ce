"""A model of everything that may happen to records: it never breaks, and each planted bug breaks it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.faults.planted import any_fence, no_deadline, no_fence, no_intent, no_supersede
from tests.faults.world import ANSWERS, FLOWS, SEAMS, Broken, World

SOAK = int(os.environ.get("FLOWRUN_MODEL_EXAMPLES", "1000"))
answers = st.lists(st.sampled_from(ANSWERS), max_size=6)
flows = st.sampled_from(FLOWS)
events = st.tuples(st.sampled_from("aab"), st.integers(1, 4), st.sampled_from(["one", "two"]))


LOOKS = frozenset({"store.lanes", "writer.writer", "writer.calling"})
"""modules that look at the clock of the deadline"""


def machine(
    place: Callable[[Path], Path | str], monkeypatch: pytest.MonkeyPatch, blind: frozenset[str] = frozenset()
) -> type[RuleBasedStateMachine]:
    class Life(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.root = Path(tempfile.mkdtemp(prefix="flowrun-model-"))
            self.world = World(self.root, place(self.root))
            for module in LOOKS - blind:
                monkeypatch.setattr(f"flowrun.{module}.boot_time", self.world.boot_time)

        def teardown(self) -> None:
            try:
                self.world.finish()
            finally:
                self.world.store.close()
                shutil.rmtree(self.root)

        @rule(flow=flows, event=events)
        def event(self, flow: str, event: tuple[str, int, str]) -> None:
            self.world.event(flow, *event)

        @rule(answers=answers, wait_secs=st.sampled_from([0.0, 60.0]))
        def deliver(self, answers: list[str], wait_secs: float) -> None:
            self.world.deliver(answers, wait_secs)

        @rule(flow=flows, seam=st.sampled_from(SEAMS), after=st.integers(1, 2), answers=answers, event=events)
        def kill(self, flow: str, seam: str, after: int, answers: list[str], event: tuple[str, int, str]) -> None:
            self.world.event(flow, *event)
            self.world.kill(flow, seam, after, answers)

        @rule(flow=flows, seam=st.sampled_from(SEAMS), event=events, then=st.none() | events, answers=answers)
        def freeze(
            self,
            flow: str,
            seam: str,
            event: tuple[str, int, str],
            then: tuple[str, int, str] | None,
            answers: list[str],
        ) -> None:
            self.world.event(flow, *event)
            self.world.freeze(flow, seam, then, answers)

        @rule(what=st.sampled_from(["edit", "replay", "discard"]))
        def person(self, what: str) -> None:
            self.world.person(what)

        @rule(secs=st.sampled_from([5.0, 100.0, 3600.0]))
        def time_passes(self, secs: float) -> None:
            self.world.passed += secs

        @invariant()
        def holds(self) -> None:
            self.world.check()

    return Life


def run(life: type[RuleBasedStateMachine], examples: int, steps: int, *, shrink: bool = True) -> None:
    phases = [Phase.generate, *([Phase.shrink] if shrink else [])]
    run_state_machine_as_test(
        life,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, database=None, derandomize=True,
            phases=phases, suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


def on_sqlite(root: Path) -> Path:
    return root / "s.db"


def test_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    run(machine(on_sqlite, monkeypatch), 25, 15)


def test_it_holds_on_postgres(monkeypatch: pytest.MonkeyPatch, postgres: Callable[[], str]) -> None:
    run(machine(lambda root: postgres(), monkeypatch), 6, 12)


@pytest.mark.soak
def test_it_holds_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    run(machine(on_sqlite, monkeypatch), SOAK, 100)


@pytest.mark.soak
def test_it_holds_for_long_on_postgres(monkeypatch: pytest.MonkeyPatch, postgres: Callable[[], str]) -> None:
    run(machine(lambda root: postgres(), monkeypatch), SOAK, 100)


@pytest.mark.parametrize("bug", [no_fence, no_intent, no_deadline, no_supersede])
def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch, bug: Any) -> None:
    bug(monkeypatch)
    blind = frozenset({"writer.writer"}) if bug is no_deadline else frozenset()
    with pytest.raises((Broken, ExceptionGroup)) as told:
        run(machine(on_sqlite, monkeypatch, blind), 200, 12, shrink=False)
    assert told.type is Broken or told.group_contains(Broken)


def freezes(world: World) -> None:
    """Another worker does what was about to be sent."""
    world.event("orders", "a", 1, "one")
    world.freeze("orders", "intended", None)


def freezes_and_is_doubted(world: World) -> None:
    """Another worker tries it, too, and does not know whether it arrived; the lane is still there."""
    world.event("orders", "a", 1, "one")
    world.freeze("orders", "intended", None, ["lost_after"])


def is_killed(world: World) -> None:
    world.event("orders", "a", 1, "one")
    world.kill("orders", "answered", 1, [])


def is_overtaken(world: World) -> None:
    world.event("numbered", "a", 1, "one")
    world.event("numbered", "a", 2, "two")


@pytest.mark.parametrize("planted", [False, True], ids=["whole", "planted"])
@pytest.mark.parametrize(
    ("bug", "story"),
    [
        (no_fence, freezes),
        (any_fence, freezes_and_is_doubted),
        (no_deadline, freezes),
        (no_intent, is_killed),
        (no_supersede, is_overtaken),
    ],
)
def test_the_shortest_story_of_each_bug(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store_place: Path | str, bug: Any, story: Any, planted: bool
) -> None:
    """On both databases; without the bug it ends well."""
    world = World(tmp_path, store_place)
    for module in LOOKS:
        monkeypatch.setattr(f"flowrun.{module}.boot_time", world.boot_time)
    if planted:
        bug(monkeypatch)

    def lived() -> None:
        story(world)
        world.check()
        world.finish()

    try:
        if planted:
            with pytest.raises(Broken):
                lived()
        else:
            lived()
    finally:
        world.store.close()


def test_an_older_version_does_not_go_after_one_that_was_given_up(tmp_path: Path, store_place: Path | str) -> None:
    world = World(tmp_path, store_place)
    try:
        world.event("numbered", "a", 4, "one")
        world.deliver(["refuse"])
        world.person("discard")
        world.event("numbered", "a", 3, "one")
        world.finish()
        states = {row.version: row.state for row in world.store.records(flow="numbered")}
        assert states == {"4": "discarded", "3": "superseded"} and world.target.things == {}
        world.event("numbered", "a", 5, "one")
        world.finish()
        assert world.target.things == {"a": 3}, "the third amount, of version 5"
    finally:
        world.store.close()
