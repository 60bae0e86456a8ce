"""Clocks that jump while a call is under way: the lease of who makes it is over by the database, and yet is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowrun.store import Incoming, open_store
from flowrun.store.database import Database
from flowrun.store.lanes import LEASE_SECS, Lanes, boot_time
from tests.runner.test_edges import Bench


class Clocks:
    """jumped: of the database's clock. passed: of the one that counts from the start of the machine; of both when time
    goes by."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.jumped = self.passed = 0.0
        honest, real = Database.time, boot_time
        monkeypatch.setattr(Database, "time", lambda db, tx: honest(db, tx) + self.jumped + self.passed)
        for module in ("store.lanes", "writer.writer", "writer.calling"):
            monkeypatch.setattr(f"flowrun.{module}.boot_time", lambda: real() + self.passed)


@pytest.fixture
def bench(tmp_path: Path, store_place: Path | str) -> Iterator[Bench]:
    made = Bench(tmp_path)
    made.store.close()
    made.store = open_store(store_place)
    yield made
    made.store.close()


def jumps_during_a_call(bench: Bench, clocks: Clocks, place: Path | str, jump: float) -> list[int]:
    """How many lanes another worker, which has looked at the clock before, finds free during each call."""
    found: list[int] = []
    other = open_store(place) if bench.store.database.shared else bench.store  # a thread of the same process
    other.lanes.claim("orders", 1, "other")

    def script(body: Any) -> Any:
        clocks.jumped = jump
        found.append(len(other.lanes.claim("orders", 10, "other").rows))

    bench.target.script = script
    bench.run(*({"id": str(n), "amount": n} for n in range(5)))
    if other is not bench.store:
        other.close()
    return found


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_jump_during_a_call(
    bench: Bench, store_place: Path | str, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    assert jumps_during_a_call(bench, Clocks(monkeypatch), store_place, jump) == [0] * 5
    assert bench.states() == {"confirmed": 5} and len(bench.target.calls) == 5


def test_a_clock_that_is_believed_is_found(
    bench: Bench, store_place: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lanes, "_believes", lambda *_: True)
    assert sum(jumps_during_a_call(bench, Clocks(monkeypatch), store_place, 3600.0)) > 0


def test_what_a_dead_one_held_is_taken_over_later(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One lease after the jump, by the clock that did not jump; what nobody holds goes on meanwhile."""
    clocks, lanes = Clocks(monkeypatch), bench.store.lanes
    for key in ("1", "2"):
        bench.store.inbox.add("f", [Incoming(key, None, key, {"id": key})])
        assert [row.key for row in lanes.claim("f", 1, "dead").rows] == [key]
    clocks.jumped = 3600.0
    bench.store.inbox.add("f", [Incoming("3", None, "3", {"id": "3"})])
    assert [row.key for row in lanes.claim("f", 10, "w", only=["1", "2"]).rows] == []
    assert [row.key for row in lanes.claim("f", 10, "w").rows] == ["3"]
    clocks.passed = LEASE_SECS + 1
    assert [row.key for row in lanes.claim("f", 10, "w").rows] == ["1", "2", "3"]


def test_time_that_goes_by_is_no_jump(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the machine slept, or the answer took long."""
    clocks, lanes = Clocks(monkeypatch), bench.store.lanes
    bench.store.inbox.add("f", [Incoming("1", None, "1", {"id": "1"})])
    assert len(lanes.claim("f", 1, "dead").rows) == 1
    clocks.passed = 8 * 3600.0
    assert len(lanes.claim("f", 1, "w").rows) == 1
