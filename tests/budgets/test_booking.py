"""Whose turn it is, in virtual time: several processes at one line of time."""

from __future__ import annotations

from bisect import bisect_left

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowrun.pacing.booking import MOST_REFUSAL_SECS, State, Wait, answered, book, left, refused, spacing
from flowrun.pacing.gate import SHARED_SLICE_SECS, Alone, Gate, Step, T, patience
from flowrun.pacing.headers import MOST_TOLD_SECS, Told
from flowrun.pacing.rates import Rates, read_rates


class World(Alone):
    """A ledger that many gates share, in a time that only sleeping moves."""

    shared = True

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.booked = 0

    def change(self, connection: str, step: Step[T]) -> tuple[T, State, float]:
        self.booked += 1
        state, given = step(self._states.get(connection, State()), self.now)
        self._states[connection] = state
        return given, state, 0.0


class Process:
    """A gate whose sleep is not slept: ``at`` is when it would wake."""

    def __init__(self, world: World, rates: Rates) -> None:
        self.at = world.now
        self.gate = Gate("shop", rates, world, sleep=self._sleep, clock=lambda: self.at)
        self.world = world

    def _sleep(self, secs: float) -> None:
        self.at += secs

    def send(self) -> float:
        """When the request left."""
        self.world.now = self.at
        with patience(lambda: 1e9):
            self.gate.enter()
        return self.at


def most_in(sent: list[float], secs: float) -> int:
    """The fullest half-open window. A microsecond is forgiven: these are floats."""
    sent = sorted(sent)
    return max(bisect_left(sent, at + secs - 1e-6) - i for i, at in enumerate(sent))


RATES = st.sampled_from(["20/s", "2/s", "60/m", "0.5/s", "7/s 100/m", "50/s 60/m 200/h", "5/s 30/m 40/d"])


@settings(max_examples=60, deadline=None)
@given(
    rate=RATES, count=st.integers(1, 5), pauses=st.lists(st.tuples(st.integers(0, 4), st.floats(0, 3)), max_size=120)
)
def test_no_window_ever_holds_more_than_its_limit(rate: str, count: int, pauses: list[tuple[int, float]]) -> None:
    """However many processes, however busy or idle: no window of any limit is over it, wherever it begins."""
    world = World()
    processes = [Process(world, read_rates(rate)) for _ in range(count)]
    sent = []
    for who, pause in pauses:
        # The one that is furthest behind goes on, so that time runs the same way for all.
        process = min(processes, key=lambda one: one.at) if pause < 0.5 else processes[who % count]
        process.at = max(process.at, *(one.at - 5 for one in processes)) + (pause if pause > 1 else 0)
        sent.append(process.send())
    for part in rate.split():
        number, unit = part.split("/")
        secs = {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
        wide = 1 if float(number) >= 1 else 10  # half a request a second is five in ten
        if sent:
            assert most_in(sent, secs * wide) <= float(number) * wide


@settings(max_examples=30, deadline=None)
@given(count=st.integers(2, 8), rounds=st.integers(20, 60))
def test_busy_processes_share_and_nobody_starves(count: int, rounds: int) -> None:
    world = World()
    processes = [Process(world, read_rates("20/s")) for _ in range(count)]
    sent: dict[int, int] = dict.fromkeys(range(count), 0)
    times = []
    for _ in range(count * rounds):
        who = min(range(count), key=lambda n: processes[n].at)
        times.append(processes[who].send())
        sent[who] += 1
    assert most_in(times, 1.0) <= 20
    assert min(sent.values()) >= rounds * 0.7
    assert max(one.at for one in processes) - 1000.0 >= count * rounds / 20 - 1
    assert max(one.at for one in processes) - 1000.0 <= count * rounds / 20 * 1.05 + 2 * count * SHARED_SLICE_SECS
    assert world.booked < count * rounds * 0.6, "a statement for each request"


def test_an_idle_process_takes_nothing_from_a_busy_one() -> None:
    world = World()
    idle, busy = (Process(world, read_rates("20/s")) for _ in range(2))
    idle.send()
    sent = [busy.send() for _ in range(100)]
    assert sent[-1] - sent[0] < 100 / 20 * 1.05


def test_what_was_booked_and_not_sent_counts_for_nothing() -> None:
    world = World()
    world.shared = False
    process = Process(world, read_rates("100/s 1000/d"))
    for _ in range(15):
        process.send()
        process.at += 10
    ((_, free),) = left(world._states["shop"], read_rates("100/s 1000/d"), process.at)
    assert 1000 - 15 - 100 <= free <= 1000 - 15, "at most one slice is still out"


def test_a_slice_whose_time_has_passed_is_not_used_later() -> None:
    """What one process left over is the time of the others."""
    world = World()
    slow, busy = (Process(world, read_rates("100/s")) for _ in range(2))
    for _ in range(40):
        slow.send()  # it books much by now
    busy.at = slow.at
    sent = []
    for _ in range(300):
        process = min(slow, busy, key=lambda one: one.at)
        sent.append(process.send())
        if process is slow:
            process.at += 0.17
    assert most_in(sent, 0.25) <= 25


def test_a_window_that_is_used_up_is_free_again_in_time() -> None:
    rates = read_rates("10/d")
    state, now = State(), 0.0
    for _ in range(10):
        state, _ = book(state, rates, now, want=1, slice_secs=1, most_secs=0)
    state, found = book(state, rates, now, want=1, slice_secs=1, most_secs=0)
    assert isinstance(found, Wait) and 86400 <= found.secs <= 86400 * 25 / 24 + 1
    assert found.why == "the 10 requests of a day"
    _, early = book(state, rates, 86390.0, want=1, slice_secs=1, most_secs=0)
    assert isinstance(early, Wait), "the oldest is not a day old"
    state, found = book(state, rates, now + found.secs, want=1, slice_secs=1, most_secs=0)
    assert not isinstance(found, Wait)


def test_pauses_that_nobody_timed_grow_and_end() -> None:
    state, now, pauses = State(), 0.0, []
    for _ in range(12):
        state = refused(state, now, None, "", 0.0)
        pauses.append(state.paused_until - now)
        state = refused(state, now, None, "", 0.0)  # of requests that were sent together: said once
        now = state.paused_until
    assert pauses[:4] == [1, 2, 4, 8] and pauses[-1] == MOST_REFUSAL_SECS
    assert answered(state, now, []).refusals == 0


def test_a_pause_is_as_told_and_never_longer_than_a_day() -> None:
    assert refused(State(), 100.0, 7.0, "retry-after", 0.5).paused_until == 107.0
    assert refused(State(), 0.0, 1e9, "retry-after", 0.5).paused_until == MOST_TOLD_SECS
    longer = refused(State(paused_until=50.0), 0.0, 7.0, "retry-after", 0.5)
    assert longer.paused_until == 50.0, "a shorter one does not end it"


@pytest.mark.parametrize("jump", [-86400.0, -3600.0, 3600.0, 86400.0])
def test_a_clock_that_is_set_stops_nothing(jump: float) -> None:
    rates, now, state = read_rates("2/s 60/m"), 1e6, State()
    for _ in range(60):
        state, found = book(state, rates, now, want=1, slice_secs=0.2, most_secs=1e9)
        assert not isinstance(found, Wait)
    state, found = book(state, rates, now + jump, want=1, slice_secs=0.2, most_secs=0)
    assert not isinstance(found, Wait)
    paused = refused(state, now, 1e9, "retry-after", 0.0)
    _, found = book(paused, rates, now + jump, want=1, slice_secs=0.2, most_secs=1)
    assert isinstance(found, Wait) == (jump < 86400) and (not isinstance(found, Wait) or found.secs <= MOST_TOLD_SECS)


def test_what_was_booked_before_a_slower_pace_is_not_lost() -> None:
    """Each answer tells a pace; the rest of the second that was booked before it is booked again."""
    world = World()
    world.shared = False
    process = Process(world, read_rates("20/s"))
    sent = []
    for _ in range(10):
        sent.append(process.send())
        process.world.now = process.at
        process.gate.hear(200, {"x-ratelimit-remaining": "10", "x-ratelimit-limit": "100", "x-ratelimit-reset": "1"})
    assert most_in(sent, 1.0) <= 10 and sent[-1] - sent[0] < 9 * 0.1 * 1.05 + 0.1


def test_a_system_that_names_ever_new_limits_fills_nothing() -> None:
    state = State()
    for n in range(100):
        state = answered(state, float(n), [Told("same", 5, 9, 1.0), Told(f"limit {n}", 5, 9, 1.0)])
    assert len(state.told) == 8 and {"same", "limit 99"} <= set(state.told)


@settings(deadline=None)
@given(remaining=st.integers(0, 100), resets_in=st.floats(0.1, 1e5), sure=st.booleans())
def test_what_is_left_is_spread_before_it_is_used_up(remaining: int, resets_in: float, sure: bool) -> None:
    state = answered(State(), 0.0, [Told("x", remaining, 100, resets_in, sure)])
    if remaining > 20:
        assert spacing(state, Rates(), 0.0) == 0.0 and not state.paused_until
    elif remaining == 0 and sure:
        assert state.paused_until == resets_in and state.paused_by == "x"
    else:
        gap = spacing(state, Rates(), 0.0)
        assert gap == pytest.approx(resets_in / max(1, remaining)) or (not sure and gap == 60.0)
        assert spacing(state, Rates(), resets_in + 1) == 0.0, "it begins anew"
    assert answered(state, 1.0, [Told("x", 90, 100, 50.0)]).slow_gap == 0.0


@pytest.mark.parametrize(
    ("text", "gap", "windows"),
    [
        ("20/s", 0.05, []), ("600/m", 0.1, []), ("20 / s", 0.05, []), ("0.5/s", 2.0, []), ("5000/h", 0.72, []),
        ("5/s 60/m 5000/d", 0.2, [(60, 60), (5000, 86400)]), ("5000/d 60/m", 1.0, [(5000, 86400)]), ("100/d", 0.0, [(100, 86400)]),
    ],
)  # fmt: skip
def test_a_rate_as_it_is_written(text: str, gap: float, windows: list[tuple[int, float]]) -> None:
    rates = read_rates(text)
    assert rates.gap == pytest.approx(gap)
    assert [(one.count, one.secs) for one in rates.windows] == windows


@pytest.mark.parametrize(
    "text", ["", "often", "0/s", "-1/s", "20/w", "20", "5/s 6/s", "1/s 0.5/m", "1e9/s", "nan/s", "inf/m"]
)
def test_a_rate_that_is_none(text: str) -> None:
    with pytest.raises(ValueError):
        read_rates(text)
