"""Patience with a database that is away: a step is tried again for a while, and the outage is said once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from flowrun.errors import StoreGone
from flowrun.logs import log

FIRST_AWAY_SECS, LONGEST_AWAY_SECS = 0.25, 5.0  # between two tries
MOST_AWAY_SECS = 60.0  # of waiting in a row; then the run ends with its error

Result = TypeVar("Result")


class Patience:
    """Calls a step until the database answers. Only for steps that may be done twice: of the last commit before an
    outage nothing is known."""

    def __init__(self, flow: str, sleep: Callable[[float], object]) -> None:
        self._flow = flow
        self._sleep = sleep

    def __call__(self, step: Callable[[], Result]) -> Result:
        """Raises StoreGone when it stays away."""
        waited = 0.0
        for pause in _pauses():
            try:
                result = step()
            except StoreGone as error:
                if not waited:
                    log().warning("store gone", flow=self._flow, message=error.message, waits_secs=MOST_AWAY_SECS)
                self._sleep(pause)
                waited += pause
            else:
                if waited:
                    log().info("store back", flow=self._flow, after_secs=waited)
                return result
        return step()


def _pauses() -> Iterator[float]:
    """Seconds between tries; together no more than MOST_AWAY_SECS."""
    pause, left = FIRST_AWAY_SECS, MOST_AWAY_SECS
    while left > 0:
        yield pause
        left -= pause
        pause = min(LONGEST_AWAY_SECS, pause * 2, max(left, FIRST_AWAY_SECS))
