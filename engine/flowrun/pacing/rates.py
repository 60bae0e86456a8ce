"""``rate:`` as it is written: ``20/s``, or several that all hold: ``5/s 60/m 5000/d``."""

from __future__ import annotations

import re
from dataclasses import dataclass

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}  # seconds
_RATE = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)/([smhd])")


@dataclass(frozen=True, slots=True)
class Window:
    """Never more than ``count`` in any ``secs``."""

    count: int
    secs: float


@dataclass(frozen=True, slots=True)
class Rates:
    """gap: seconds between two requests (0: none). windows: what is counted beside that."""

    gap: float = 0.0
    windows: tuple[Window, ...] = ()


FREE = Rates()


def read_rates(text: str) -> Rates:
    """The shortest rate is an even pace, unless it is a day's; the others are counted. Raises ValueError."""
    found = []
    for part in re.sub(r"\s*/\s*", "/", text).split():
        match = _RATE.fullmatch(part)
        if match is None or not float(match[1]):
            raise ValueError(part)
        found.append((UNITS[match[2]], float(match[1])))
    if not found or len({secs for secs, _ in found}) < len(found):
        raise ValueError(text)
    found.sort()
    paced = found[0] if found[0][0] < UNITS["d"] else None
    if any(count % 1 for secs, count in found if (secs, count) != paced):
        raise ValueError(text)
    windows = tuple(Window(int(count), secs) for secs, count in found if (secs, count) != paced)
    return Rates(paced[0] / paced[1] if paced else 0.0, windows)
