"""Whose turn it is. Pure: a state and a moment in, a state and a slice out; moments by one clock that all share.

All processes of a connection book slices of one line of time: so many moments, evenly spaced, that nobody else has.
What a process that died had booked passes like any other time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from flowrun.pacing.headers import MOST_TOLD_SECS, Told
from flowrun.pacing.rates import Rates, Window

LATE = 0.02
"""Share of a gap that a request may be late. Gaps are longer by as much, so that what is late breaks no limit."""
PARTS = 24  # of a counted window: an hour of a day
FIRST_REFUSAL_SECS, MOST_REFUSAL_SECS = 1.0, 60.0  # pauses after a 429 that does not say how long, doubled each time
SPARSE = 0.2  # share of a limit under which what is left is spread over the time until it begins anew
LONGEST_QUEUE_SECS = 600.0
"""Nothing is booked further ahead; what seems to be was booked before the database's clock was set back."""
MOST_TOLD = 8  # limits that are remembered; their names come from outside
MOST_GUESSED_SECS = 60.0  # between two requests, where the system does not say when its limit begins anew

Counted = Mapping[str, Sequence[Sequence[int]]]
"""Seconds of a window → [part, requests in it], oldest first."""


@dataclass(frozen=True, slots=True)
class State:
    """What processes share of a connection's budget.

    ready_at: the next free moment of the pace. paused_until, paused_by: nothing is sent before, and what said so.
    refusals: 429 in a row. slow_gap, slow_until, slow_by: a slower pace, learned from answers.
    told: name → [remaining, limit, when it begins anew], as answers said last.
    """

    ready_at: float = 0.0
    paused_until: float = 0.0
    paused_by: str = ""
    refusals: int = 0
    slow_gap: float = 0.0
    slow_until: float = 0.0
    slow_by: str = ""
    counted: Counted = field(default_factory=dict)
    told: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    told_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Slice:
    """``count`` requests, the first at ``start``, each ``gap`` after the one before; none after ``until``. end: where
    the next slice of the line of time begins."""

    start: float
    gap: float
    count: int
    until: float
    end: float


@dataclass(frozen=True, slots=True)
class Wait:
    """No turn within the time that was given: how long, and for what."""

    secs: float
    why: str


def book(
    state: State, rates: Rates, now: float, *, want: int, slice_secs: float, most_secs: float, unused: int = 0,
    insist: bool = False, back: tuple[float, float] | None = None,
) -> tuple[State, Slice | Wait]:  # fmt: skip
    """At most ``want`` requests that start within ``most_secs``.

    unused: requests of the slice before that were not sent; they count for nothing. insist: whatever pause there is.
    back: the rest of a slice that ended early; nobody's again, where nobody has booked what comes after.
    """
    if back is not None and state.ready_at == back[1]:
        state = replace(state, ready_at=back[0])
    gap = spacing(state, rates, now)
    if state.ready_at > now + LONGEST_QUEUE_SECS + 2 * gap + slice_secs:
        state = replace(state, ready_at=now)
    if state.paused_until > now + MOST_TOLD_SECS:
        state = replace(state, paused_until=now + MOST_TOLD_SECS)
    counted = _returned(state.counted, rates.windows, now, unused)
    start = max(now, state.ready_at if gap else 0.0)
    why = f"its pace of one request in {gap:.3g} s" if gap else ""
    if state.paused_until > start and not insist:
        start, why = state.paused_until, state.paused_by
    count = max(1, min(want, int(slice_secs / gap))) if gap else want
    for window in rates.windows:
        room, free_at = _room(counted, window, start)
        if room < 1:
            start, why = max(start, free_at), f"the {window.count} requests of {_words(window.secs)}"
        count = max(1, min(count, room))
    state = replace(state, counted=counted)
    if start - now > max(0.0, min(most_secs, LONGEST_QUEUE_SECS)):
        return state, Wait(start - now, why)
    until = start + (count - 1) * gap * (1 + LATE) + gap * LATE if gap else start + slice_secs
    # Under its end, since a part is forgotten when the window has left its beginning behind.
    counted = {str(int(w.secs)): _with(counted, w, until, count) for w in rates.windows}
    ready_at = start + count * gap * (1 + LATE) if gap else state.ready_at
    return replace(state, ready_at=ready_at, counted=counted), Slice(start, gap * (1 + LATE), count, until, ready_at)


def spend(state: State, rates: Rates, now: float) -> State:
    """A request that cannot wait: it is sent now, and others wait for it."""
    gap = spacing(state, rates, now) * (1 + LATE)
    counted = {str(int(w.secs)): _with(state.counted, w, now, 1) for w in rates.windows}
    return replace(state, ready_at=max(now, state.ready_at) + gap if gap else state.ready_at, counted=counted)


def spacing(state: State, rates: Rates, now: float) -> float:
    return max(rates.gap, state.slow_gap) if now < state.slow_until else rates.gap


def left(state: State, rates: Rates, now: float) -> list[tuple[Window, int]]:
    """Requests that each counted window has left."""
    return [(window, max(0, _room(state.counted, window, now)[0])) for window in rates.windows]


# -- what answers say ----------------------------------------------------------------------------------------------


def refused(state: State, now: float, wait: float | None, by: str, chance: float) -> State:
    """429, or 503 with a time. wait: as told. chance: 0 to 1, so that pauses which nobody told differ."""
    if wait is None:
        # Answers of requests that were sent together say the same thing once.
        if state.paused_until > now:
            return state
        longer = min(MOST_REFUSAL_SECS, FIRST_REFUSAL_SECS * 2 ** min(state.refusals, 10))
        wait, by = longer * (1 + chance / 4), "429 without a time"
    until = now + min(wait, MOST_TOLD_SECS)
    if until <= state.paused_until:
        return state
    again = state.paused_until <= now
    return replace(state, paused_until=until, paused_by=by, refusals=state.refusals + again)


def answered(state: State, now: float, told: Sequence[Told], *, insisted: bool = False) -> State:
    """An answer that is no refusal. insisted: it was sent in spite of a pause, which is over then."""
    if insisted and state.paused_until > now:
        state = replace(state, paused_until=now, paused_by="")
    if state.refusals and state.paused_until <= now:
        state = replace(state, refusals=0)
    for one in told:
        state = _learn(state, now, one)
    if told:
        resets: dict[str, Sequence[float | None]] = {
            one.name: [one.remaining, one.limit, None if one.resets_in is None else now + one.resets_in]
            for one in told
        }  # fmt: skip
        kept = [*(item for item in state.told.items() if item[0] not in resets), *resets.items()]
        state = replace(state, told=dict(kept[-MOST_TOLD:]), told_at=now)
    return state


def is_sparse(one: Told) -> bool:
    """Whether so little is left that it has to be spread. Without a limit, what a request a second would use up."""
    limit = one.limit if one.limit is not None else one.resets_in
    return one.resets_in is not None and bool(limit) and one.remaining <= (limit or 0.0) * SPARSE


def _learn(state: State, now: float, one: Told) -> State:
    if one.resets_in is None or one.resets_in <= 0:
        return state
    if not is_sparse(one):
        # The limit began anew sooner than was said.
        return replace(state, slow_gap=0.0, slow_until=0.0, slow_by="") if state.slow_by == one.name else state
    ends = now + one.resets_in
    if one.remaining < 1 and one.sure:
        return state if ends <= state.paused_until else replace(state, paused_until=ends, paused_by=one.name)
    gap = one.resets_in / max(one.remaining, 1.0)
    gap = gap if one.sure else min(gap, MOST_GUESSED_SECS)
    if state.slow_until > now and state.slow_by != one.name and state.slow_gap > gap:
        return state  # another limit is tighter
    ready_at = state.ready_at if state.slow_until > now else max(state.ready_at, now + gap)
    return replace(state, ready_at=ready_at, slow_gap=gap, slow_until=ends, slow_by=one.name)


# -- counted windows -----------------------------------------------------------------------------------------------


def _part(window: Window, at: float) -> int:
    return int(at // (window.secs / PARTS))


def _kept(counted: Counted, window: Window, at: float) -> list[list[int]]:
    """Parts that any of the window still touches at this moment; the oldest counts whole until it is past."""
    oldest, newest = _part(window, at) - PARTS, _part(window, at + LONGEST_QUEUE_SECS) + 1
    kept = counted.get(str(int(window.secs)), ())
    return [[int(part), int(count)] for part, count in kept if oldest <= part <= newest]


def _room(counted: Counted, window: Window, at: float) -> tuple[int, float]:
    """(requests that may be sent at this moment, when one may)."""
    kept = _kept(counted, window, at)
    room = window.count - sum(count for _, count in kept)
    if room > 0:
        return room, at
    for part, count in kept:
        room += count
        if room > 0:
            return 0, (part + PARTS + 1) * (window.secs / PARTS)
    return 0, at + window.secs


def _with(counted: Counted, window: Window, at: float, count: int) -> list[list[int]]:
    kept, part = _kept(counted, window, at), _part(window, at)
    if kept and kept[-1][0] >= part:
        kept[-1][1] += count
    else:
        kept.append([part, count])
    return kept


def _returned(counted: Counted, windows: Sequence[Window], now: float, unused: int) -> Counted:
    """What was counted and not sent is taken off the newest parts."""
    if not unused:
        return counted
    found: dict[str, list[list[int]]] = {}
    for window in windows:
        kept, back = _kept(counted, window, now), unused
        for entry in reversed(kept):
            taken = min(entry[1], back)
            entry[1] -= taken
            back -= taken
        found[str(int(window.secs))] = [entry for entry in kept if entry[1]]
    return found


def _words(secs: float) -> str:
    return {1.0: "a second", 60.0: "a minute", 3600.0: "an hour", 86400.0: "a day"}.get(secs, f"{secs:g} s")
