"""``limits: { webhooks: … }``: never more than that in a time, and nobody is turned away below it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowrun.pacing.rates import read_rates
from flowrun.service.turnstile import Turnstile
from tests.service.serving import placed, serving

MOMENTS = st.lists(st.floats(0, 5, allow_nan=False), min_size=1, max_size=300)


@given(gaps=MOMENTS, rate=st.integers(1, 50), window=st.integers(1, 100))
@settings(max_examples=200, deadline=None)
def test_never_more_than_it_says(gaps: list[float], rate: int, window: int) -> None:
    turnstile = Turnstile(read_rates(f"{rate}/s {window}/m"))
    now, taken = 0.0, []
    for gap in gaps:
        now += gap / 20
        wait = turnstile.wait(now)
        assert wait >= 0
        if not wait:
            taken.append(now)
    for n, begin in enumerate(taken):
        assert sum(begin <= one <= begin + 1 - 1e-6 for one in taken[n:]) <= 2 * rate  # a burst, and a second's pace
        assert sum(begin <= one < begin + 60 - 1e-6 for one in taken[n:]) <= window


@given(rate=st.integers(1, 50))
@settings(max_examples=50, deadline=None)
def test_below_it_nobody_waits_and_who_waited_is_taken(rate: int) -> None:
    turnstile = Turnstile(read_rates(f"{rate}/s"))
    assert all(turnstile.wait(n / rate) == 0 for n in range(200))
    now = 300.0
    while not (wait := turnstile.wait(now)):
        pass
    assert turnstile.wait(now + wait + 1e-6) == 0


@pytest.mark.parametrize("text", ["3/m", "1/h", "2/d"])
def test_slow_ones(text: str) -> None:
    turnstile = Turnstile(read_rates(text))
    assert turnstile.wait(0.0) == 0


def test_beyond_it_the_sender_is_told_when_to_come_again(project: Path, tmp_path: Path, shop: Any, erp: Any) -> None:
    settings_ = project / "flowrun.yaml"
    settings_.write_text(settings_.read_text().replace(
        "    profile: compat", "    limits: { webhooks: 5/s 8/m }\n    profile: compat", 1))  # fmt: skip
    placed(shop, [1])
    with serving(project, tmp_path / "state.db", shop, erp) as here:
        answers = [here.hook(*shop.webhook(1, id_=f"e{n}")) for n in range(20)]
        codes = [one.status_code for one in answers]
        assert codes.count(200) in (5, 6, 7, 8) and set(codes) == {200, 429}
        told = next(one for one in answers if one.status_code == 429)
        assert 1 <= int(told.headers["retry-after"]) <= 60
        forged = dict(shop.webhook(1)[0], **{"x-webhook-signature": "v1,AAAA"})
        assert here.hook(forged, b"{}").status_code == 401  # the unproven cost nobody's turn
        assert here.metric("flowrun_webhook_requests_total")['connection="xcart",outcome="rate"'] == codes.count(429)
