"""The budget of a connection in words: its limits, what is left of them, what it waits for, and who said so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flowrun.pacing.booking import State, left
from flowrun.pacing.rates import FREE, Rates, read_rates

_UNITS = (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1))


def budget_lines(limits: Any, found: tuple[State, float] | None) -> Iterator[str]:
    """limits: as flowrun.yaml says. found: what the store knows, and the moment it was asked; None: nothing."""
    limits = limits if isinstance(limits, Mapping) else {}
    said = [str(limits["rate"])] if "rate" in limits else []
    said += [f"{limits['concurrent']} at once"] if "concurrent" in limits else []
    if said:
        yield f"limits: {', '.join(said)}"
    if found is None:
        return
    state, now = found
    for window, free in left(state, _rates(limits), now):
        yield f"{free} of {window.count} in {span(window.secs)} left"
    if state.paused_until > now:
        yield f"paused for {span(state.paused_until - now)}, as {state.paused_by} said; a check asks all the same"
    if state.slow_until > now and state.slow_gap:
        slow = f"{state.slow_gap:.3g} s between requests"
        yield f"slowed down for {span(state.slow_until - now)}: {slow}, as {state.slow_by} said"
    for name, (remaining, limit, anew_at) in sorted(state.told.items()):
        of = f" of {limit:g}" if limit is not None else ""
        anew = f", anew in {span(anew_at - now)}" if anew_at is not None and anew_at > now else ""
        yield f"{name}: {remaining:g}{of} left{anew}, told {span(now - state.told_at)} ago"


def _rates(limits: Mapping[str, Any]) -> Rates:
    try:
        return read_rates(str(limits["rate"])) if "rate" in limits else FREE
    except ValueError:
        return FREE  # validate says so


def span(secs: float) -> str:
    """A span of time as a person says it: two units at most."""
    whole = max(0, int(secs))
    for unit, size, smaller, small in _UNITS:
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"
