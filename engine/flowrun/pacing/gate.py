"""The gate that each request of a connection passes: it waits for its turn, and hears what answers tell of limits."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol, TypeVar

from flowrun.errors import BudgetSpent, StoreError
from flowrun.pacing.booking import Slice, State, Wait, answered, book, is_sparse, refused, spend
from flowrun.pacing.headers import LimitHeaders, read_told, read_wait
from flowrun.pacing.rates import FREE, Rates
from flowrun.pacing.slots import Sharing, SlotLedger, Slots

PATIENCE_SECS = 5.0  # that who holds lanes sleeps for its turn; longer waits are given back as due times
UNHURRIED_SECS = 60.0  # the same where nothing is held, as in a reading
SHARED_SLICE_SECS, ALONE_SLICE_SECS = 0.2, 1.0
"""Of the line of time that a process books at once: after as long it knows what others were told, who wait as long."""
MOST_OF_SLICE = 10_000  # requests
EARLY_SECS = 0.005  # that a sleep may end before its time
LEARN_EVERY_SECS = 5.0  # between two notes of what answers tell, while it changes nothing
AWAY_SECS = 5.0  # after which a store that is away is asked again

T = TypeVar("T")
Step = Callable[[State, float], tuple[State, T]]


class Ledger(SlotLedger, Protocol):
    """Where the state of a connection's budget is kept. shared: several processes may use it at once."""

    shared: bool

    def change(self, connection: str, step: Step[T]) -> tuple[T, State, float]:
        """Apply a step, alone, with the moment by the ledger's clock. Returns what it gave, the state after it, and
        what is to be added to ``time.monotonic`` for that clock. Raises StoreError."""
        ...

    def waited(self, connection: str, secs: float) -> None:
        """Note that somebody waited."""
        ...


@dataclass(frozen=True, slots=True)
class Patience:
    """most_secs: how long the caller may sleep now. insist: a person asks, whatever pause there is. sleep: one that
    ends early when the caller is told to stop."""

    most_secs: Callable[[], float] = lambda: UNHURRIED_SECS
    insist: bool = False
    sleep: Callable[[float], object] | None = None


_patience: ContextVar[Patience] = ContextVar("patience", default=Patience())  # noqa: B039 - frozen


@contextmanager
def patience(
    most_secs: Callable[[], float] = lambda: UNHURRIED_SECS,
    *,
    insist: bool = False,
    sleep: Callable[[float], object] | None = None,
) -> Iterator[None]:
    """Requests of this block wait for their turn no longer than ``most_secs`` says each time; then BudgetSpent."""
    token = _patience.set(Patience(most_secs, insist, sleep))
    try:
        yield
    finally:
        _patience.reset(token)


class Alone:
    """A budget of this process and no longer than it."""

    shared = False

    def __init__(self) -> None:
        self._states: dict[str, State] = {}
        self._lock = threading.Lock()
        self.waits: dict[str, float] = {}

    def change(self, connection: str, step: Step[T]) -> tuple[T, State, float]:
        with self._lock:
            now = time.monotonic()
            state, given = step(self._states.get(connection, State()), now)
            self._states[connection] = state
            return given, state, 0.0

    def share(self, connection: str, holder: str, step: Sharing) -> None:
        step((), time.monotonic())

    def waited(self, connection: str, secs: float) -> None:
        self.waits[connection] = self.waits.get(connection, 0.0) + secs


class Gate:
    """One for each connection of a process. Threads share the slice that it holds."""

    def __init__(
        self,
        connection: str,
        rates: Rates = FREE,
        ledger: Ledger | None = None,
        declared: Sequence[LimitHeaders] = (),
        *,
        concurrent: int | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """ledger: None for a budget of this process alone, which is paced and hears nothing. concurrent: requests at
        once of all processes together; of this one alone its client takes care."""
        self.connection = connection
        self._rates = rates
        self._hears = ledger is not None
        self._ledger: Ledger = ledger or Alone()
        self._declared = declared
        self._sleep = sleep
        self._clock = clock
        self._chance = chance
        shared = concurrent is not None and self._ledger.shared
        self._slots = Slots(connection, concurrent or 1, self._ledger) if shared else None
        self._lock = threading.Lock()
        self._slice: Slice | None = None  # in the time of ``clock``
        self._used = 0
        self._unsent = 0  # of slices that ended early
        self._back: tuple[float, float] | None = None  # the rest of the last of them
        self._want = 1 if self._ledger.shared else MOST_OF_SLICE
        self._next = 0.0
        self._age = 0  # of what is known: a pause that an answer tells ends the slice
        self._state = State()
        self._offset = self._booked_by = 0.0
        self._noted = 0.0

    @property
    def is_open(self) -> bool:
        """Whether nothing is paced and nothing heard."""
        return not self._hears and self._rates == FREE

    def enter(self) -> Callable[[], None]:
        """Wait for the turn of one request; what is returned is called when it is over.

        Raises BudgetSpent when it would take longer than ``patience``.
        """
        if self._slots is None:
            self._wait()
            return lambda: None
        self._slots.take(_patience.get().most_secs())
        try:
            self._wait()
        except BaseException:
            self._slots.give()
            raise
        return self._slots.give

    def _wait(self) -> None:
        if self.is_open:
            return
        begun = self._clock()
        mood = _patience.get()
        until = begun + max(0.0, mood.most_secs())
        try:
            while True:
                with self._lock:
                    at, age = self._turn(until, mood.insist), self._age
                wait = at - self._clock()
                if wait <= 0:
                    return
                (mood.sleep or self._sleep)(wait)
                if self._clock() < at - EARLY_SECS:
                    raise BudgetSpent(
                        f"not sent: told to stop while waiting for {self.connection}", retry_after_secs=0.0
                    )
                if age == self._age:
                    return
        finally:
            waited = self._clock() - begun
            if waited > 0.001:
                self._ledger.waited(self.connection, waited)

    def spend(self) -> None:
        """Count a request that cannot wait."""
        if not self.is_open:
            self._change(lambda state, now: (spend(state, self._rates, now), None))

    def hear(self, status: int, headers: Mapping[str, str]) -> None:
        """Learn from an answer. Never raises: what was answered is worth more than what it tells of limits."""
        if not self._hears:
            return
        now = self._clock() + self._offset
        wait, by = read_wait(headers, self._declared, time.time()) if status in (429, 503) else (None, "")
        if status == 429 or (status == 503 and wait is not None):
            chance = self._chance()
            self._change(lambda state, now: (refused(state, now, wait, by, chance), None), anew=True)
            return
        told = read_told(headers, self._declared, time.time())
        insisted = _patience.get().insist and self._state.paused_until > now
        slower = any(is_sparse(one) or one.name == self._state.slow_by for one in told)
        if slower or insisted or (self._state.refusals and status < 400) or (told and now >= self._noted):
            self._noted = now + LEARN_EVERY_SECS
            self._change(lambda state, now: (answered(state, now, told, insisted=insisted), None), anew=slower)

    # -- slices ----------------------------------------------------------------------------------------------------

    def _turn(self, until: float, insist: bool) -> float:
        """When the next request may leave, by ``clock``. Raises BudgetSpent."""
        while True:
            now = self._clock()
            held = self._slice
            if held is not None and self._used < held.count:
                at = max(now, self._next)
                if at <= held.until:
                    if at - now > max(0.0, until - now):
                        raise self._spent(at - now, f"its pace of one request in {held.gap:.3g} s")
                    self._used += 1
                    self._next = at + held.gap
                    return at
            self._book(until - now, insist)

    def _book(self, most_secs: float, insist: bool) -> None:
        held, used = self._slice, self._used
        self._slice, self._used = None, 0
        unused, self._unsent = self._unsent, 0
        back, self._back = self._back, None
        if held is not None:
            unused += held.count - used
            if self._ledger.shared:  # who uses up what it books may book more; who does not books what it needs
                self._want = min(MOST_OF_SLICE, used * 2) if used == held.count else max(1, used)
        slice_secs = SHARED_SLICE_SECS if self._ledger.shared else ALONE_SLICE_SECS

        def step(state: State, now: float) -> tuple[State, Slice | Wait]:
            return book(
                state, self._rates, now, want=self._want, slice_secs=slice_secs, most_secs=most_secs, unused=unused,
                insist=insist, back=back,
            )  # fmt: skip

        try:
            found, self._state, self._offset = self._ledger.change(self.connection, step)
        except StoreError as error:
            raise BudgetSpent(
                f"the budget of {self.connection} cannot be asked: {error.message}", retry_after_secs=AWAY_SECS
            ) from None
        if isinstance(found, Wait):
            raise self._spent(found.secs, found.why)
        start, until = found.start - self._offset, found.until - self._offset
        self._slice = Slice(start, found.gap, found.count, until, found.end)
        self._booked_by = self._offset
        self._next = start

    def _spent(self, secs: float, why: str) -> BudgetSpent:
        words = f"not sent: the budget of {self.connection} is spent for {secs:.0f} s ({why})"
        return BudgetSpent(words, retry_after_secs=max(0.001, secs))

    def _change(self, step: Step[None], *, anew: bool = False) -> None:
        """anew: what was booked before is no longer good."""
        try:
            _, self._state, self._offset = self._ledger.change(self.connection, step)
        except StoreError:
            return  # the next request asks again, and is told again
        if anew:
            with self._lock:
                self._age += 1
                if self._slice is not None:
                    self._unsent += self._slice.count - self._used
                    if self._slice.gap:
                        self._back = (self._next + self._booked_by, self._slice.end)
                    self._slice = None
