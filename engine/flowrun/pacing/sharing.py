"""Who may have how many requests under way: slots that processes lease, fairly. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SLOT_LEASE_SECS = 10.0  # after which the slots of a process that died are free
TURN_SECS = 2.0  # that a process keeps its last slot while others, for whom there is none, wait


@dataclass(frozen=True, slots=True)
class Share:
    """slots: requests that it may have under way. wants: how many more it would. since: when it got its first slot, or
    began to want one. until: when all this ends, unless it is renewed."""

    holder: str
    slots: int
    wants: int
    since: float
    until: float


def share(
    total: int, shares: Sequence[Share], me: str, now: float, *, in_use: int, need: int
) -> tuple[Share | None, int]:
    """(my share, None to give all back; how many requests I may have under way from here on).

    in_use: what runs now, which stays mine until it ends. need: what I would run, that included.
    """
    # A lease that is too long was given before the database's clock was set back; who lives renews it.
    alive = [one for one in shares if now < one.until <= now + SLOT_LEASE_SECS + 1]
    mine = next((one for one in alive if one.holder == me), None)
    others = [one for one in alive if one.holder != me]
    free = total - sum(one.slots for one in others)
    contenders = sum(1 for one in others if one.slots or one.wants) + 1
    fair = max(1, total // contenders)
    short = [one for one in others if one.wants and one.slots < fair]
    since = mine.since if mine is not None and bool(mine.slots) else None
    begun = mine.since if mine is not None else now  # of wanting or having
    may = min(need, free)
    if short:
        may = min(may, fair)
        # Who has none and waits longer comes first.
        if since is None:
            may = min(may, free - sum(1 for one in short if not one.slots and one.since < begun))
        elif any(not one.slots for one in short) and free - may <= 0 and now - since >= TURN_SECS and may <= fair:
            may = max(0, may - 1)
    may = max(0, may)
    slots = max(may, in_use)
    if not slots and not need:
        return None, 0
    if (slots and since is None) or (not slots and since is not None):
        begun = now
    return Share(me, slots, max(0, need - slots), begun, now + SLOT_LEASE_SECS), may
