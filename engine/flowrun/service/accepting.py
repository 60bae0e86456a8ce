"""Group commit: what many senders bring at one moment is held in one transaction, and only then answered."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flowrun.errors import FlowrunError, StoreError, StoreGone
from flowrun.logs import log
from flowrun.store.events import Arrival, Events

MOST_AT_ONCE = 500  # arrivals of one transaction
MOST_WAITING = 5000  # requests that wait for theirs; beyond it senders are told to come again


class Busy(FlowrunError):
    """More is waiting to be held than is good for anybody; nothing was held."""


@dataclass(slots=True)
class _Request:
    arrivals: Sequence[Arrival]
    answer: asyncio.Future[int]
    loop: asyncio.AbstractEventLoop


class Acceptor:
    """One thread that writes; coroutines wait for it. taken: called after each commit that held something new."""

    def __init__(self, events: Events, taken: Callable[[], None], *, most_waiting: int = MOST_WAITING) -> None:
        self._events = events
        self._taken = taken
        self._most = most_waiting
        self._queue: deque[_Request] = deque()
        self._some = threading.Condition()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="accept", daemon=True)

    def start(self) -> None:
        self._thread.start()

    async def accept(self, arrivals: Sequence[Arrival]) -> int:
        """Hold them. Returns how many were new, once they are durable. Raises Busy, StoreError: none is held then."""
        if not arrivals:
            return 0
        loop = asyncio.get_running_loop()
        one = _Request(arrivals, loop.create_future(), loop)
        with self._some:
            if self._ending or len(self._queue) >= self._most:
                raise Busy("too much is waiting to be held")
            self._queue.append(one)
            self._some.notify()
        return await one.answer

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def stop(self, timeout: float) -> bool:
        """Hold what waits, then end. False when that took too long."""
        with self._some:
            self._ending = True
            self._some.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._some:
                while not self._queue and not self._ending:
                    self._some.wait()
                if not self._queue:
                    return
                batch: list[_Request] = []
                size = 0
                while self._queue and (not batch or size + len(self._queue[0].arrivals) <= MOST_AT_ONCE):
                    size += len(self._queue[0].arrivals)
                    batch.append(self._queue.popleft())
            self._hold(batch)

    def _hold(self, batch: Sequence[_Request]) -> None:
        try:
            new = self._events.accept([arrival for one in batch for arrival in one.arrivals])
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, StoreGone):
                for one in batch:  # one that cannot be held must not be the end of the others
                    self._hold([one])
                return
            if not isinstance(error, StoreError):
                log().error("not accepted", error=type(error).__name__)
                error = StoreError(f"the store failed: {type(error).__name__}")
            _answer(batch, error)
            return
        _answer(batch, new)
        if new:
            self._taken()


def _answer(batch: Sequence[_Request], answer: int | Exception) -> None:
    """One hop into each event loop, however many wait there. ``answer`` is of all of them together."""
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[int]]] = {}
    for one in batch:
        by_loop.setdefault(one.loop, []).append(one.answer)
    for loop, futures in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve, futures, answer)
        except RuntimeError:  # the loop has ended, and with it those who waited
            log().warning("answered to nobody", requests=len(futures))


def _resolve(futures: Sequence[asyncio.Future[int]], answer: int | Exception) -> None:
    for future in futures:
        if future.done():  # its sender has gone
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
