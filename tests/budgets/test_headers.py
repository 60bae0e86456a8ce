"""What headers tell of limits, by friends and by foes."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowrun.connector import LimitHeaders
from flowrun.pacing.headers import MOST_TOLD_SECS, STANDARD, read_told, read_wait

NOW = 1_790_000_000.0
DATE = "Mon, 21 Sep 2026 14:13:20 GMT"  # NOW


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("7", 7.0), ("1.5", 1.5), ("1000000000", MOST_TOLD_SECS), ("Mon, 21 Sep 2026 14:13:50 GMT", 30.0),
        ("Mon, 21 Sep 2126 14:13:50 GMT", MOST_TOLD_SECS), ("-5", None), ("0", None), ("soon", None), ("", None), ("nan", None),
        ("inf", None), ("1e9", None), ("9" * 400, None), ("Mon, 21 Sep 2020 14:13:50 GMT", None), ("٣", None), ("0x10", None),
        ("Mon, 99 Sep 2026 99:99:99 GMT", None), ("1, 2", None),
    ],
)  # fmt: skip
def test_retry_after_in_every_form(text: str, wanted: float | None) -> None:
    headers = {"date": DATE} | ({"retry-after": text} if text else {})
    assert read_wait(headers, (), 5.0) == (wanted, "retry-after" if wanted is not None else "")


XERO = LimitHeaders("minute", remaining="x-minlimit-remaining", limit_is=60, window_is=60)
SHOPIFY = LimitHeaders("bucket", used="x-shopify-shop-api-call-limit", restores=2)
BIGCOMMERCE = LimitHeaders(
    "quota", remaining="x-rate-limit-requests-left", limit="x-rate-limit-requests-quota",
    reset="x-rate-limit-time-reset-ms", unit_secs=0.001,
)  # fmt: skip
INTACCT = LimitHeaders(
    "throttle", remaining="x-ia-throttle-remaining", limit="x-ia-throttle-limit", wait="x-ia-throttle-retryafter"
)


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({"ratelimit": '"day";r=50;t=30', "ratelimit-policy": '"day";q=100;w=60'}, ("RateLimit day", 50, 100, 30, True)),
        ({"ratelimit": '"day";r=50', "ratelimit-policy": '"day";q=100;w=60'}, ("RateLimit day", 50, 100, 60, False)),
        ({"ratelimit": "limit=100, remaining=50, reset=30"}, ("RateLimit", 50, 100, 30, True)),
        ({"ratelimit-remaining": "3", "ratelimit-limit": "10", "ratelimit-reset": "9"}, ("RateLimit", 3, 10, 9, True)),
        ({"x-ratelimit-remaining": "3", "x-ratelimit-limit": "10", "x-ratelimit-reset": "1790000030"}, ("X-RateLimit", 3, 10, 30, True)),
        ({"x-ratelimit-remaining": "3", "x-ratelimit-reset": "1790000030500"}, ("X-RateLimit", 3, None, 30.5, True)),
        ({"x-rate-limit-remaining": "3"}, ("X-Rate-Limit", 3, None, None, False)),
        ({"x-minlimit-remaining": "12"}, ("minute", 12, 60, 60, False)),
        ({"x-shopify-shop-api-call-limit": "32/40"}, ("bucket", 8, 40, 16, True)),
        ({"x-rate-limit-requests-left": "4", "x-rate-limit-requests-quota": "150", "x-rate-limit-time-reset-ms": "2500"}, ("quota", 4, 150, 2.5, True)),
    ],
)  # fmt: skip
def test_what_systems_send(headers: dict[str, str], wanted: tuple[object, ...]) -> None:
    (told,) = read_told(headers, (XERO, SHOPIFY, BIGCOMMERCE), NOW)
    assert (told.name, told.remaining, told.limit, told.resets_in, told.sure) == wanted


def test_a_wait_under_the_systems_own_name() -> None:
    assert read_wait({"x-ia-throttle-retryafter": "12"}, (INTACCT,), NOW) == (12.0, "x-ia-throttle-retryafter")


def test_the_answers_own_clock_counts() -> None:
    """Ours is an hour off; the system says a moment by its own."""
    headers = {"date": DATE, "x-ratelimit-remaining": "1", "x-ratelimit-reset": str(int(NOW) + 30)}
    assert read_told(headers, (), NOW - 3600)[0].resets_in == 30


HOSTILE = st.one_of(
    st.text("0123456789abcdefgGMT :;,=.\"\u0663\u00b2-+\n", max_size=40), st.integers().map(str), st.integers(0, 4_000_000).map(str), st.integers(1_789_000_000, 1_800_000_000).map(str), st.floats().map(str), st.sampled_from(["9" * 5000, "-1", "1e308", '"a";r=1;t=' * 300, "1/0", "0/0"])
)  # fmt: skip
NAMES = sorted(
    {"ratelimit", "ratelimit-policy", "retry-after", "date", "x-ia-throttle-retryafter"}
    | {name for one in (*STANDARD, XERO, SHOPIFY, BIGCOMMERCE, INTACCT) for name in (one.remaining, one.used, one.limit, one.reset) if name}
)  # fmt: skip


@given(headers=st.dictionaries(st.sampled_from(NAMES), HOSTILE, max_size=8))
@example(headers={"x-ratelimit-remaining": "1", "x-ratelimit-reset": "999999"})
@example(headers={"x-ratelimit-remaining": "1", "x-ratelimit-reset": str(int(NOW) + 999_999)})
@example(headers={"ratelimit": '"a";r=1;t=999999'})
@example(headers={"ratelimit": "limit=1, remaining=1, reset=999999"})
@example(headers={"retry-after": "999999"})
def test_no_header_breaks_anything_or_asks_for_more_than_a_day(headers: dict[str, str]) -> None:
    declared = (XERO, SHOPIFY, BIGCOMMERCE, INTACCT)
    wait, _ = read_wait(headers, declared, NOW)
    assert wait is None or 0 < wait <= MOST_TOLD_SECS
    for told in read_told(headers, declared, NOW):
        assert told.remaining >= 0 and (told.resets_in is None or 0 <= told.resets_in <= MOST_TOLD_SECS)
