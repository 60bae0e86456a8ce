"""A loop: one thread that does what is due, sleeps until more is, and lives through what goes wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from flowrun.errors import FlowrunError
from flowrun.logs import log

GATHER_SECS = 0.01  # after being woken, so that a flood is not looked at each time that it brings something
LONGEST_SECS = 60.0  # between two looks when things keep going wrong


class Loop:
    """tick: does what is due and returns the seconds until it should look again, at most ``look_secs``."""

    def __init__(self, name: str, tick: Callable[[], float], look_secs: float = 1.0) -> None:
        self.name = name
        self.beat = time.monotonic()
        """When the last look ended."""
        self.trouble = ""
        """Why the last look failed; "" when it did not."""
        self._tick = tick
        self._look_secs = look_secs
        self._woken = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Look now."""
        self._woken.set()

    def stop(self) -> None:
        """Look no more; does not wait for the look that is on."""
        self._stopped.set()
        self._woken.set()

    def join(self, timeout: float) -> bool:
        """False when the thread is still at it."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            self._woken.clear()
            try:
                wait = min(self._tick(), self._look_secs)
                failures, self.trouble = 0, ""
            except Exception as error:  # a loop that ends would leave everything after it undone
                failures += 1
                wait = min(LONGEST_SECS, 0.25 * 2 ** min(failures, 10))
                self.trouble = error.message if isinstance(error, FlowrunError) else type(error).__name__
                log().error("loop failed", loop=self.name, message=self.trouble, next_look_secs=wait)
                if not isinstance(error, FlowrunError):
                    log().debug("loop failed", loop=self.name, exc_info=True)
            self.beat = time.monotonic()
            if failures:
                self._stopped.wait(wait)  # being woken does not make it better
            elif self._woken.wait(max(0.0, wait)):
                self._stopped.wait(GATHER_SECS)
