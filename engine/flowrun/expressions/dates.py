"""Dates and times: read from what systems write, kept aware, told apart from what is unclear.

A format is ``iso`` (the default), ``unix``, ``unix_ms`` or a strptime pattern. A zone is an IANA name.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from flowrun.expressions.runtime import BadValue, show

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_SECONDS: Final = 253_402_300_799  # 9999-12-31T23:59:59Z


@lru_cache(maxsize=64)
def zone(name: str) -> ZoneInfo:
    """The zone of an IANA name. Raises BadValue for a name that does not exist."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise BadValue(f"no time zone is named {name!r}", help="write an IANA name such as Europe/Berlin") from None


def in_zone(naive: datetime, name: str) -> datetime:
    """The moment a local time means. Raises BadValue for a time that the clocks skip or repeat there."""
    where = zone(name)
    early, late = naive.replace(tzinfo=where, fold=0), naive.replace(tzinfo=where, fold=1)
    if early.utcoffset() != late.utcoffset():
        there = early.astimezone(UTC).astimezone(where).replace(tzinfo=None) == naive
        why = "happens twice" if there else "does not exist"
        raise BadValue(f"{naive.isoformat(sep=' ')} {why} in {name}, where the clocks change", help="send UTC")
    return early


_DAY: Final = 86_400  # seconds
_EPOCH_ORDINAL: Final = _EPOCH.toordinal()
_FROM, _UNTIL = -2_208_988_800, 4_102_444_800  # seconds: the years 1900 to 2099
_DAYS_MAX: Final = 4096
_CHANGES: Final = 10**6  # stands for an offset: the clocks change on that day


def day_of_seconds(zone_name: str, slow: Callable[[Any], date]) -> Callable[[Any], date]:
    """``date unix ZONE``: seconds since 1970 → their day in the zone, ten times as fast as by ZoneInfo objects.

    It remembers the zone's offset for each day (in UTC) that begins and ends with the same one; no zone changes its
    offset and takes the change back within a day. All else is left to ``slow``.
    """
    where = zone(zone_name)
    offsets: dict[int, int] = {}

    def look(day: int) -> int:
        ends = (datetime.fromtimestamp(at, where).utcoffset() for at in (day * _DAY, (day + 1) * _DAY - 1))
        first, last = (int(offset.total_seconds()) if offset is not None else _CHANGES for offset in ends)
        if len(offsets) >= _DAYS_MAX:
            offsets.clear()
        offsets[day] = first if first == last else _CHANGES
        return offsets[day]

    def convert(value: Any) -> date:
        if type(value) is int and _FROM <= value < _UNTIL:
            day = value // _DAY
            offset = offsets.get(day)
            if offset is None:
                offset = look(day)
            if offset != _CHANGES:
                return date.fromordinal((value + offset) // _DAY + _EPOCH_ORDINAL)
        return slow(value)

    return convert


def _from_seconds(value: Any, per_second: int) -> datetime:
    if type(value) is str:
        try:
            value = Decimal(value.strip())
        except ArithmeticError:
            raise BadValue(f"{show(value)} is not a number of seconds", help="write the format, such as iso") from None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise BadValue(f"{show(value)} is not a number of seconds")
    number = Decimal(value)
    if not number.is_finite() or abs(number) > _MOST_SECONDS * per_second:
        raise BadValue(f"{show(value)} is no time within the years 1 to 9999", help="unix or unix_ms?")
    try:
        return _EPOCH + timedelta(microseconds=int(number * (1_000_000 // per_second)))
    except OverflowError:
        raise BadValue(f"{show(value)} is no time within the years 1 to 9999", help="unix or unix_ms?") from None


def _iso(value: Any) -> datetime | date:
    if type(value) is not str:
        if isinstance(value, date):  # of another converter: as: [datetime unix, date America/New_York]
            return value
        raise BadValue(f"{show(value)} is not text in ISO form", help="for seconds since 1970 write `date unix`")
    text = value.strip()
    try:
        if len(text) == 10:
            return date.fromisoformat(text)
        return datetime.fromisoformat(text)
    except ValueError:
        raise BadValue(
            f"{show(value)} is not a date or time in ISO form", help="write its format: as: \"date '%m/%d/%Y'\""
        ) from None


def reader(form: str) -> Callable[[Any], datetime | date]:
    """A function from a value to a datetime (aware where the value says so) or a date."""
    if form == "iso":
        return _iso
    if form == "unix":
        return lambda value: _from_seconds(value, 1)
    if form == "unix_ms":
        return lambda value: _from_seconds(value, 1000)

    has_time = any(mark in form for mark in ("%H", "%I", "%M", "%S", "%X", "%c"))

    def read(value: Any) -> datetime | date:
        if type(value) is int:
            value = str(value)
        if type(value) is not str:
            raise BadValue(f"{show(value)} is not text in the form {form}")
        try:
            found = datetime.strptime(value.strip(), form)
        except ValueError:
            raise BadValue(f"{show(value)} is not in the form {form}") from None
        return found if has_time or found.tzinfo else found.date()

    return read


def bad_pattern(form: str) -> str:
    """What is wrong with a strptime pattern, in words; "" when nothing is."""
    try:
        datetime.strptime("", form)
    except ValueError as error:
        return str(error) if "directive" in str(error) or "stray" in str(error) else ""
    except Exception:  # two directives with one name make a bad regular expression of it
        return f"'{form}' names one part twice"
    return ""


def to_datetime(form: str, zone_name: str | None) -> Callable[[Any], datetime]:
    """value → aware UTC time. A naive time is read in the zone; without one it is an error."""
    read = reader(form)

    def convert(value: Any) -> datetime:
        found = read(value)
        if not isinstance(found, datetime):
            found = datetime(found.year, found.month, found.day)
        if found.tzinfo is not None:
            return found.astimezone(UTC)
        if zone_name is None:
            raise BadValue(
                f"{show(value)} names no time zone", help="say which it is in: as: datetime iso America/New_York"
            )
        return in_zone(found, zone_name).astimezone(UTC)

    return convert


def to_date(form: str, zone_name: str | None) -> Callable[[Any], date]:
    """value → calendar day. A moment falls on its day in the zone; without a zone only a plain day is clear."""
    read = reader(form)

    def convert(value: Any) -> date:
        found = read(value)
        if not isinstance(found, datetime):
            return found
        if found.tzinfo is None:
            return found.date()
        if zone_name is None:
            raise BadValue(
                f"{show(value)} falls on different days in different time zones",
                help="say in which: as: date unix America/New_York",
            )
        return found.astimezone(zone(zone_name)).date()

    return day_of_seconds(zone_name, convert) if form == "unix" and zone_name is not None else convert


def _iso_time(value: Any) -> datetime | date | time:
    if isinstance(value, time | datetime):
        return value
    if type(value) is not str:
        raise BadValue(f"{show(value)} is not text in ISO form")
    text = value.strip()
    try:
        return time.fromisoformat(text) if "T" not in text and " " not in text else datetime.fromisoformat(text)
    except ValueError:
        raise BadValue(f"{show(value)} is not a time in ISO form") from None


def to_time(form: str, zone_name: str | None) -> Callable[[Any], time]:
    """value → time of day, in the zone when one is written."""
    read = _iso_time if form == "iso" else reader(form)

    def convert(value: Any) -> time:
        found = read(value)
        if isinstance(found, time):
            return found
        if not isinstance(found, datetime):
            raise BadValue(f"{show(value)} holds no time of day")
        if found.tzinfo is not None and zone_name is not None:
            found = found.astimezone(zone(zone_name))
        return found.time()

    return convert


def datetime_text(value: datetime) -> str:
    """``2026-05-04T10:00:00Z``: UTC, fractions only where there are any."""
    return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
