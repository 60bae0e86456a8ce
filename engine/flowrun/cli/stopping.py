"""SIGTERM: what is under way is finished and given back; a second one ends the process at once, which loses nothing."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stoppable() -> Iterator[threading.Event]:
    """Gives what is set when the process is told to end. For the main thread."""
    told = threading.Event()

    def heard(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # No stream is in reach of a signal: it may come in the middle of a write.
        os.write(2, b"stopping: what is under way is finished; once more ends it at once\n")
        told.set()

    before = signal.signal(signal.SIGTERM, heard)
    try:
        yield told
    finally:
        signal.signal(signal.SIGTERM, before)
