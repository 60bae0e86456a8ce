"""How many webhooks of a connection one process takes in a time: a burst of a second's worth, then the pace."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping

from flowrun.pacing.rates import FREE, Rates, read_rates
from flowrun.project import Environment, Project


class Turnstile:
    """Not for threads: the event loop asks it."""

    def __init__(self, rates: Rates) -> None:
        self._gap = rates.gap
        self._ahead = 1.0 if rates.gap and rates.gap < 1 else rates.gap  # seconds that a burst may be ahead of the pace
        self._free_at = -math.inf
        self._windows = [(window, deque[float]()) for window in rates.windows]

    def wait(self, now: float) -> float:
        """0.0: it is taken, and counted. Else the seconds until one would be. now: by a clock that only goes on."""
        waits = [0.0]
        if self._gap:
            waits.append(max(self._free_at, now) + self._gap - self._ahead - now)
        for window, times in self._windows:
            while times and times[0] <= now - window.secs:
                times.popleft()
            if len(times) >= window.count:
                waits.append(times[0] + window.secs - now)
        longest = max(waits)
        if longest > 0:
            return longest
        self._free_at = max(self._free_at, now) + self._gap
        for _, times in self._windows:
            times.append(now)
        return 0.0


def turnstiles(project: Project, environment: Environment, names: list[str]) -> Mapping[str, Turnstile]:
    """Of the connections that say ``limits: { webhooks: … }``."""
    found = {}
    for name in names:
        limits = project.connection(name, environment).public().get("limits")
        text = limits.get("webhooks") if isinstance(limits, Mapping) else None
        rates = read_rates(str(text)) if text else FREE
        if rates != FREE:
            found[name] = Turnstile(rates)
    return found
