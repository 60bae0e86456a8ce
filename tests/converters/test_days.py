"""``date unix ZONE`` counts with remembered offsets; zoneinfo says whether it counts right."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrun.expressions.converters import converter

ZONES = ["America/New_York", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Apia", "America/St_Johns",
         "Africa/Monrovia", "Antarctica/Troll", "UTC", "Asia/Tehran", "America/Caracas"]  # fmt: skip
_1900, _2100 = -2_208_988_800, 4_102_444_800


def by_zoneinfo(seconds: int, zone: str) -> date:
    return datetime.fromtimestamp(seconds, UTC).astimezone(ZoneInfo(zone)).date()


def changes(zone: ZoneInfo) -> list[int]:
    """The seconds from 1900 to 2100 at which the zone's offset changes, found by looking every six hours."""

    def offset(at: int) -> Any:
        return datetime.fromtimestamp(at, zone).utcoffset()

    found = []
    step = 6 * 3600
    before = offset(_1900)
    for at in range(_1900 + step, _2100, step):
        now = offset(at)
        if now != before:
            low, high = at - step, at
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset(middle) == before else (low, middle)
            found.append(high)
            before = now
    return found


@pytest.mark.parametrize("zone", ZONES[:8])
def test_around_every_change_of_the_clocks(zone: str) -> None:
    convert = converter("date", ("unix", zone))
    found = changes(ZoneInfo(zone))
    assert len(found) > 1
    for at in found:
        midnight = at - at % 86_400
        for near in (at, midnight, midnight + 86_400):
            for shift in (-86_400, -43_200, -3600, -1800, -1, 0, 1, 1800, 3600, 43_200, 86_399):
                assert convert(near + shift) == by_zoneinfo(near + shift, zone), (near, shift)


@given(st.integers(_1900 - 10**6, _2100 + 10**6), st.sampled_from(ZONES + sorted(available_timezones())[:400:7]))
def test_any_moment_in_any_zone(seconds: int, zone: str) -> None:
    convert = converter("date", ("unix", zone))
    wanted = by_zoneinfo(seconds, zone)
    for value in (seconds, str(seconds), Decimal(seconds), seconds):
        assert convert(value) == wanted
        assert type(convert(value)) is date


def test_memory_stays_bounded_over_the_centuries() -> None:
    convert = converter("date", ("unix", "Europe/Berlin"))
    for day in range(0, 30_000, 3):
        assert convert(_1900 + day * 86_400 + 7200) == by_zoneinfo(_1900 + day * 86_400 + 7200, "Europe/Berlin")
    offsets = next(cell.cell_contents for cell in convert.__closure__ if isinstance(cell.cell_contents, dict))  # type: ignore[attr-defined]
    assert 0 < len(offsets) <= 4096
