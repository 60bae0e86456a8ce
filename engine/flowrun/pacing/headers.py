"""What an answer's headers tell of a limit. They come from outside: whatever makes no sense is passed over, and nothing
makes anybody wait longer than a day."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

MOST_TOLD_SECS = 24 * 3600.0
"""Who asks for more is asked again after a day: the longest limits count a day, and no mistake of a header should stop
a connection for good."""
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,9})?")
_EPOCH, _EPOCH_MS = 1e9, 1e11  # a reset above is a moment since 1970, in seconds or milliseconds
_LONGEST_DELTA = 31 * 86400.0  # above it a number of seconds is none that a limit would count
_MOST_ITEMS = 8  # limits in one header


@dataclass(frozen=True, slots=True)
class LimitHeaders:
    """One limit and the headers that tell of it, lower-case; "" where the system sends none.

    remaining, limit, reset, window: how many are left, of how many, when it begins anew (seconds from now, or a moment
    since 1970), what it counts over (seconds). used: in place of remaining; ``32/40`` holds the limit too.
    wait: seconds, as Retry-After. unit_secs: what reset and window count in (0.001: milliseconds).
    limit_is, window_is: where no header says it. restores: given back a second, of a limit that refills steadily.
    """

    name: str
    remaining: str = ""
    used: str = ""
    limit: str = ""
    reset: str = ""
    window: str = ""
    wait: str = ""
    unit_secs: float = 1.0
    limit_is: float | None = None
    window_is: float | None = None
    restores: float | None = None


STANDARD = (
    LimitHeaders("RateLimit", "ratelimit-remaining", "", "ratelimit-limit", "ratelimit-reset"),
    LimitHeaders("X-RateLimit", "x-ratelimit-remaining", "", "x-ratelimit-limit", "x-ratelimit-reset"),
    LimitHeaders("X-Rate-Limit", "x-rate-limit-remaining", "", "x-rate-limit-limit", "x-rate-limit-reset"),
)


@dataclass(frozen=True, slots=True)
class Told:
    """remaining: requests that are left. limit: of so many (None: not said). resets_in: seconds until it begins anew.
    sure: the system said so itself; else it is what the limit counts over."""

    name: str
    remaining: float
    limit: float | None
    resets_in: float | None
    sure: bool = True


def read_told(headers: Mapping[str, str], declared: Sequence[LimitHeaders], now: float) -> list[Told]:
    """now: seconds since 1970, where the answer has no Date of its own."""
    found = list(_drafts(headers))
    for one in (*declared, *STANDARD):
        told = _told(one, headers, now)
        if told is not None:
            found.append(told)
    return found[:_MOST_ITEMS]


def read_wait(headers: Mapping[str, str], declared: Sequence[LimitHeaders], now: float) -> tuple[float | None, str]:
    """(seconds that it asks to wait, the header that says so). None: nothing that makes sense; 0 and less, and a
    moment that is past, are none: there was a reason to say no."""
    for name in ("retry-after", *(one.wait for one in declared if one.wait)):
        text = headers.get(name, "").strip()
        secs = _number(text)
        if secs is None and len(text) < 64:
            at = _moment(text)
            secs = None if at is None else at - _clock(headers, now)
        if secs is not None and secs > 0:
            return min(secs, MOST_TOLD_SECS), name
    return None, ""


def _told(one: LimitHeaders, headers: Mapping[str, str], now: float) -> Told | None:
    limit = _number(headers.get(one.limit, "")) if one.limit else None
    limit = one.limit_is if limit is None else limit
    if one.used:
        used_text, _, limit_text = headers.get(one.used, "").partition("/")
        used = _number(used_text)
        limit = _number(limit_text) if limit_text else limit
        remaining = None if used is None or limit is None else max(0.0, limit - used)
    else:
        remaining = _number(headers.get(one.remaining, ""))
    if remaining is None:
        return None
    resets_in, sure = None, False
    if one.restores and limit is not None:
        resets_in, sure = (limit - remaining) / one.restores, True
    elif one.reset and headers.get(one.reset):
        resets_in = _resets_in(headers[one.reset], one.unit_secs, _clock(headers, now))
        sure = resets_in is not None
    if resets_in is None:
        window = _number(headers.get(one.window, "")) if one.window else None
        resets_in = window * one.unit_secs if window is not None else one.window_is
    return Told(one.name, remaining, limit, None if resets_in is None else min(resets_in, MOST_TOLD_SECS), sure)


def _resets_in(text: str, unit_secs: float, clock: float) -> float | None:
    value = _number(text)
    if value is None:
        at = _moment(text) if len(text) < 64 else None
        return None if at is None else max(0.0, at - clock)
    if value >= _EPOCH and unit_secs == 1.0:
        return max(0.0, (value / 1000 if value >= _EPOCH_MS else value) - clock)
    secs = value * unit_secs
    return secs if secs <= _LONGEST_DELTA else None


def _drafts(headers: Mapping[str, str]) -> Iterator[Told]:
    """The IETF's drafts: ``"day";r=50;t=30`` beside ``RateLimit-Policy: "day";q=100;w=60``, or the older
    ``limit=100, remaining=50, reset=30`` in one header."""
    text = headers.get("ratelimit", "")
    if not text or len(text) > 1000:
        return
    if "remaining=" in text:
        parts = dict(part.strip().partition("=")[::2] for part in text.split(",")[:_MOST_ITEMS])
        remaining = _number(parts.get("remaining", ""))
        if remaining is not None:
            resets_in = _number(parts.get("reset", ""))
            yield Told("RateLimit", remaining, _number(parts.get("limit", "")), _bounded(resets_in))
        return
    policies = dict(_items(headers.get("ratelimit-policy", "")))
    for name, values in _items(text):
        remaining = _number(values.get("r", ""))
        if remaining is not None:
            policy = policies.get(name, {})
            resets_in, sure = _number(values.get("t", "")), True
            if resets_in is None:
                resets_in, sure = _number(policy.get("w", "")), False
            yield Told(f"RateLimit {name}", remaining, _number(policy.get("q", "")), _bounded(resets_in), sure)


def _items(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    if len(text) > 1000:
        return
    for item in text.split(",")[:_MOST_ITEMS]:
        name, *values = (part.strip() for part in item.split(";"))
        yield name.strip('"')[:40], dict(value.partition("=")[::2] for value in values)


def _bounded(secs: float | None) -> float | None:
    return None if secs is None else min(secs, MOST_TOLD_SECS)


def _number(text: str) -> float | None:
    text = text.strip()
    return float(text) if len(text) < 32 and _NUMBER.fullmatch(text) and text.isascii() else None


def _clock(headers: Mapping[str, str], now: float) -> float:
    """The system's own clock, so that neither needs to be right."""
    at = _moment(headers.get("date", ""))
    return now if at is None else at


def _moment(text: str) -> float | None:
    if not text:
        return None
    from email.utils import parsedate_to_datetime  # brings the mail package along, which few calls need

    try:
        at = parsedate_to_datetime(text)
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        pass
    try:
        at = datetime.fromisoformat(text)
        return at.timestamp() if at.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
