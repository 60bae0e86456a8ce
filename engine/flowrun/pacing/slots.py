"""The slots of one connection in this process: taken from what the database leases, told about once a second."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Protocol

from flowrun.errors import BudgetSpent, StoreError
from flowrun.logs import log
from flowrun.pacing.sharing import SLOT_LEASE_SECS, Share, share

BEAT_SECS = 1.0  # between two renewals
ASK_SECS = 0.1  # between two questions of who waits
SAFE_SHARE = 0.6  # of the lease: after it nothing begins without a renewal

Sharing = Callable[[Sequence[Share], float], Share | None]


class SlotLedger(Protocol):
    def share(self, connection: str, holder: str, step: Sharing) -> None:
        """Put what ``step`` gives, of all shares and the moment, in place of the holder's share. Raises StoreError."""
        ...


class Slots:
    """Threads of one process; a process that dies loses its slots with its lease."""

    def __init__(self, connection: str, total: int, ledger: SlotLedger) -> None:
        self._connection = connection
        self._total = total
        self._ledger = ledger
        self._me = uuid.uuid4().hex
        self._changed = threading.Condition()
        self._in_use = self._peak = self._waiting = 0
        self._may = self._held = 0
        self._good_until = self._asked_at = 0.0  # by ``time.monotonic``
        self._beating = False

    def take(self, most_secs: float) -> None:
        """Raises BudgetSpent when there is none within ``most_secs``."""
        until = time.monotonic() + most_secs
        with self._changed:
            self._waiting += 1
            try:
                while not self._free():
                    now = time.monotonic()
                    if now >= self._asked_at + ASK_SECS:
                        self._ask()
                        if self._free():
                            break
                    if now >= until:
                        raise BudgetSpent(
                            f"not sent: all {self._total} requests that {self._connection} takes at once are under way",
                            retry_after_secs=BEAT_SECS,
                        )
                    self._changed.wait(min(ASK_SECS, max(0.001, until - now)))
            finally:
                self._waiting -= 1
            self._in_use += 1
            self._peak = max(self._peak, self._in_use)
            if not self._beating:
                self._beating = True
                threading.Thread(target=self._beat, name=f"slots of {self._connection}", daemon=True).start()

    def give(self) -> None:
        with self._changed:
            self._in_use -= 1
            if self._held > max(self._may, self._in_use):  # others wait for it
                self._told()
            self._changed.notify()

    def _free(self) -> bool:
        return self._in_use < self._may and time.monotonic() < self._good_until

    def _ask(self) -> None:
        """Raises BudgetSpent when the store is away."""
        try:
            self._renew()
        except StoreError as error:
            raise BudgetSpent(
                f"the budget of {self._connection} cannot be asked: {error.message}", retry_after_secs=BEAT_SECS
            ) from None

    def _told(self) -> None:
        try:
            self._renew()
        except StoreError as error:  # what is held ends with its lease
            log().warning("slots not renewed", connection=self._connection, message=error.message)

    def _renew(self) -> None:
        begun = self._asked_at = time.monotonic()
        need = max(self._in_use, self._peak) + self._waiting
        found: tuple[Share | None, int] = (None, 0)

        def step(shares: Sequence[Share], now: float) -> Share | None:
            nonlocal found
            found = share(self._total, shares, self._me, now, in_use=self._in_use, need=need)
            return found[0]

        self._ledger.share(self._connection, self._me, step)
        mine, self._may = found
        self._held = mine.slots if mine is not None else 0
        self._good_until = begun + SLOT_LEASE_SECS * SAFE_SHARE

    def _beat(self) -> None:
        """Renew what is used, give back what was not used for a while; ends when nothing is."""
        while True:
            time.sleep(BEAT_SECS)
            with self._changed:
                self._told()
                self._peak = self._in_use
                self._changed.notify_all()
                if not (self._held or self._in_use or self._waiting):
                    self._beating = False
                    return
