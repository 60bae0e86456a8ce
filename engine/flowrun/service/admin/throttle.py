"""Guessing is slowed down: an address with too many failures is not heard for a while."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable

MOST_FAILURES = 10  # of one address within WINDOW_SECS
WINDOW_SECS = 60.0
MOST_ADDRESSES = 10_000  # remembered; the oldest give way
MOST_KNOWN = 1000  # tokens that were right before


class Throttle:
    """A token that was right before is looked up all the same, so that nobody is locked out by a neighbour behind the
    same proxy; a guess is not."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._known: OrderedDict[int, None] = OrderedDict()

    def wait_secs(self, address: str, token: str) -> float:
        """0: it may be looked up."""
        times = self._failures.get(address)
        if times is None or hash(token) in self._known:
            return 0.0
        now = self._clock()
        while times and now - times[0] > WINDOW_SECS:
            times.popleft()
        return WINDOW_SECS - (now - times[0]) if len(times) >= MOST_FAILURES else 0.0

    def failed(self, address: str) -> None:
        times = self._failures.setdefault(address, deque(maxlen=MOST_FAILURES))
        times.append(self._clock())
        self._failures.move_to_end(address)
        if len(self._failures) > MOST_ADDRESSES:
            self._failures.popitem(last=False)

    def right(self, token: str) -> None:
        self._known[hash(token)] = None
        self._known.move_to_end(hash(token))
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
