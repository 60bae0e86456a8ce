"""What an operator should hear about credentials, said once until it is over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

from flowrun.logs import log

OnTrouble = Callable[[str, str, str, datetime | None], None]
"""Called with connection, kind, words, and when it ends to work (UTC; None: it has ended, or nobody knows).

kind: ``expiring`` (works now, not for long), ``refused`` (a definite no), ``reauthorise`` (a person must say yes).
"""


def log_trouble(connection: str, kind: str, words: str, expires_at: datetime | None) -> None:
    log().warning("credentials", connection=connection, kind=kind, message=words, expires_at=expires_at)


class Troubles:
    """Of one connection."""

    def __init__(self, connection: str, on_trouble: OnTrouble | None) -> None:
        self._connection = connection
        self._on_trouble = on_trouble or log_trouble
        self._said: set[str] = set()
        self._lock = threading.Lock()

    def say(self, kind: str, words: str, expires_at: datetime | None = None) -> None:
        with self._lock:
            new = kind not in self._said
            self._said.add(kind)
        if new:
            self._on_trouble(self._connection, kind, words, expires_at)

    def over(self, *kinds: str) -> None:
        """It works again, so the next time is said again."""
        if self._said:
            with self._lock:
                self._said.difference_update(kinds)
