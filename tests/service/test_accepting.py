"""What many bring at one moment is held together, and each hears of its own; what is held stays so through half-done steps."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from flowrun.errors import StoreError, StoreGone
from flowrun.service.accepting import Acceptor, Busy
from flowrun.store import Incoming, Store
from flowrun.store.events import Arrival


class Holding:
    """Events whose store says ``say`` of what it is to hold; until ``open`` it takes its time."""

    def __init__(self, say: Callable[[Sequence[Any]], int] = len) -> None:
        self.say, self.open, self.begun = say, threading.Event(), threading.Event()
        self.batches: list[list[Any]] = []

    def accept(self, arrivals: Sequence[Any]) -> int:
        self.begun.set()
        assert self.open.wait(10)
        self.batches.append(list(arrivals))
        return self.say(arrivals)


def accepted(events: Holding, *requests: Sequence[Any], most_waiting: int = 100) -> list[Any]:
    """What each is answered, all of them brought while the first is being held."""

    async def all_of_them() -> list[Any]:
        acceptor = Acceptor(events, lambda: None, most_waiting=most_waiting)  # type: ignore[arg-type]
        acceptor.start()
        first = asyncio.create_task(acceptor.accept(requests[0]))
        await asyncio.to_thread(events.begun.wait, 10)
        others = [asyncio.create_task(acceptor.accept(one)) for one in requests[1:]]
        await asyncio.sleep(0)
        events.open.set()
        found = await asyncio.wait_for(asyncio.gather(first, *others, return_exceptions=True), 10)
        assert acceptor.stop(10)
        return list(found)

    return asyncio.run(all_of_them())


def test_what_comes_meanwhile_is_held_together() -> None:
    events = Holding()
    accepted(events, ["a"], ["b"], ["c", "d"])
    assert events.batches == [["a"], ["b", "c", "d"]]


def test_one_that_cannot_be_held_is_not_the_end_of_the_others() -> None:
    def say(arrivals: Sequence[Any]) -> int:
        if "bad" in arrivals:
            raise ValueError("a bug")
        return len(arrivals)

    events = Holding(say)
    first, second, bad, third = accepted(events, ["a"], ["b"], ["bad"], ["c"])
    assert (first, second, third) == (1, 1, 1) and isinstance(bad, StoreError) and "ValueError" in bad.message
    assert events.batches[1:] == [["b", "bad", "c"], ["b"], ["bad"], ["c"]]


def test_a_store_that_is_gone_is_not_asked_for_each() -> None:
    def say(arrivals: Sequence[Any]) -> int:
        raise StoreGone("away")

    events = Holding(say)
    assert [type(one) for one in accepted(events, ["a"], ["b"], ["c"])] == [StoreGone] * 3
    assert len(events.batches) == 2


def test_more_than_is_good_is_sent_away_and_the_rest_is_held() -> None:
    events = Holding()
    found = accepted(events, ["a"], ["b"], ["c"], ["d"], ["e"], most_waiting=2)
    assert [type(one) for one in found] == [int, int, int, Busy, Busy]
    assert events.batches == [["a"], ["b", "c"]]


# -- in the store ------------------------------------------------------------------------------------------------------


def full(event_id: str, amount: int) -> Arrival:
    taken = Incoming("1", None, "1", {"id": "1", "amount": amount})
    return Arrival("shop", event_id, "thing.changed", "things", takers=[("orders", taken)])


def test_a_full_event_that_is_repeated_is_no_change_back(store: Store) -> None:
    """1, then 2, and 1 once more, since its sender never saw the answer: the record is not 1 again."""
    for event_id, amount in (("e1", 1), ("e2", 2), ("e1", 1)):
        store.events.accept([full(event_id, amount)])
    assert [row.payload["amount"] for row in store.records(flow="orders")] == [1, 2]
    assert store.events.accept([full("e3", 1), full("e3", 1)]) == 1
    assert [row.payload["amount"] for row in store.records(flow="orders")] == [1, 2, 1]


def test_a_thin_event_is_over_only_with_its_record(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.events.accept([Arrival("shop", "e1", "thing.changed", "things", thin={"id": "1"})])
    (thin,) = store.events.claim(10, 0.0)

    def fails(*args: Any) -> int:
        raise StoreError("no room")

    takers = [("orders", Incoming("1", None, "1", {"id": "1"}))]
    with monkeypatch.context() as patch:
        patch.setattr(store.inbox, "take", fails)
        with pytest.raises(StoreError):
            store.events.read_back(thin.ids, takers)
    assert [one["count"] for one in store.events.waiting()] == [1]
    assert store.events.read_back(thin.ids, takers) == 1 and store.events.waiting() == []


def test_ids_are_forgotten_but_not_of_what_waits(store: Store) -> None:
    store.events.accept([full("e1", 1), Arrival("shop", "e2", "thing.changed", "things", thin={"id": "1"})])
    with store.transaction() as tx:
        now = store.database.time(tx)
    assert store.events.forget(now + 1) == 1
    assert [one["count"] for one in store.events.waiting()] == [1]
