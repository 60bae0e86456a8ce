"""A target whose search lags behind its writes: an empty answer right after a lost one is no proof."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from flowrun.connector import Receipt
from flowrun.errors import DeliveryUnknown
from flowrun.store import open_store
from tests.runner.test_edges import CREATE, Bench

LAG_SECS = 3.0


class Late(Bench):
    """What the target took it shows ``LAG_SECS`` later. ``made``: every object, so that a second one shows."""

    def __init__(self, root: Path, place: Path | str, settles: str) -> None:
        super().__init__(root)
        self.store.close()
        self.store = open_store(place, now=self.now)
        words = CREATE.replace("find_existing: ref }", f"find_existing: ref{settles} }}")
        (root / "flows" / "orders.yaml").write_text(words)
        self.made: list[tuple[str, float]] = []
        self.lost = 1
        self.arrives = True
        self.asked: list[float] = []
        self.target.script = self._take
        self.target.find = self._find  # type: ignore[method-assign]

    def _take(self, body: Mapping[str, Any]) -> Any:
        self.lost -= 1
        if self.arrives or self.lost < 0:
            self.made.append((body["ref"], self.slept))
        return DeliveryUnknown("no answer") if self.lost >= 0 else None

    def _find(self, object: str, by: Mapping[str, Any]) -> Sequence[Receipt]:
        self.asked.append(self.slept)
        return [Receipt(f"T{ref}") for ref, at in self.made if ref == by["ref"] and self.slept >= at + LAG_SECS]


@pytest.fixture
def late(tmp_path: Path, store_place: Path | str, request: pytest.FixtureRequest) -> Iterator[Late]:
    made = Late(tmp_path, store_place, getattr(request, "param", ", settles_after: 5s"))
    yield made
    made.store.close()


def test_it_is_asked_for_again_before_it_counts_as_not_there(late: Late) -> None:
    late.run({"id": "1", "amount": 10})
    assert late.made == [("X-1", 0.0)]
    assert late.states() == {"confirmed": 1}
    (row,) = late.store.records()
    assert row.attempts == 1, "waiting burns no try"


def test_what_never_arrived_is_sent_once_the_time_is_over(late: Late) -> None:
    late.arrives = False
    late.run({"id": "1", "amount": 10})
    assert [ref for ref, _ in late.made] == ["X-1"] and late.states() == {"confirmed": 1}
    first, *_, last = late.asked
    assert last - first >= 5.0 and late.made[0][1] >= last
    assert len(late.asked) == 2, "no more questions than needed"


def test_a_new_record_of_the_same_key_does_not_cut_the_time_short(late: Late) -> None:
    """Whatever wakes the lane: the time runs from the first empty answer, in the journal."""
    late.run({"id": "1", "amount": 10}, wait_secs=0)
    for _ in range(5):
        late.slept += 2.0
        with late.store.transaction() as tx:
            late.store.lanes.wake(tx, [("orders", "1")])
        late.run(wait_secs=0)
    assert late.made == [("X-1", 0.0)] and late.states() == {"confirmed": 1}


class Killed(BaseException):
    pass


def test_after_a_kill_too(late: Late) -> None:
    def gone(name: str) -> None:
        if name == "answered":
            raise Killed

    late.lost = 0
    with pytest.raises(Killed):
        late.run({"id": "1", "amount": 10}, seams=gone)
    late.slept += 0.1
    if late.store.database.shared:
        late.slept += 200  # its lease ends
        late.made = [(ref, late.slept) for ref, _ in late.made]
    late.run()
    assert [ref for ref, _ in late.made] == ["X-1"] and late.states() == {"confirmed": 1}


@pytest.mark.parametrize("late", [""], indirect=True)
def test_without_it_the_first_answer_counts(late: Late) -> None:
    """What the word is for: this target, taken at its first answer, has the order twice."""
    late.run({"id": "1", "amount": 10})
    assert [ref for ref, _ in late.made] == ["X-1", "X-1"]
