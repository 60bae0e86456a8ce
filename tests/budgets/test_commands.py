"""What a person sees of a connection's budget, and how a person ends a pause."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from flowrun.cli.main import main
from flowrun.pacing.booking import State, book
from flowrun.pacing.rates import read_rates
from flowrun.store import Store, open_store
from flowrun.testing.faults import Faults

Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture
def shell(
    project: Path,
    shop: Any,
    store_place: Path | str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Shell]:
    text = (project / "flowrun.yaml").read_text()
    assert "limits: { rate: 20/s" in text
    (project / "flowrun.yaml").write_text(text.replace("limits: { rate: 20/s", "limits: { rate: 20/s 5000/d", 1))
    settings = shop.connection_settings()
    monkeypatch.chdir(project)
    monkeypatch.setenv("FLOWRUN_STORE", str(store_place))
    monkeypatch.setenv("XCART_URL", settings["base_url"])
    for name, value in settings.items():
        if name != "base_url":
            monkeypatch.setenv(f"XCART_{name.upper()}", str(value))

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        return int(ended.value.code or 0), *capsys.readouterr()

    yield run
    structlog.reset_defaults()  # a command logs to the stream that it found


def put(store_place: Path | str, connection: str, **fields: Any) -> None:
    store: Store = open_store(store_place)
    store.budgets.change(
        connection,
        lambda state, now: (replace(state, **{k: v(now) if callable(v) else v for k, v in fields.items()}), None),
    )
    store.close()


def known(store_place: Path | str) -> tuple[State, float]:
    store = open_store(store_place)
    found = store.budgets.of("xcart")
    store.close()
    assert found is not None
    return found


def test_the_list_says_what_is_left_and_who_said_so(shell: Shell, store_place: Path | str) -> None:
    code, out, err = shell("connections", "list", "--env", "qa")
    assert (code, err) == (0, "") and "  limits: 20/s 5000/d, " in out and "paused" not in out
    put(
        store_place,
        "s4",
        paused_until=lambda now: now + 580.5,
        paused_by="retry-after",
        slow_until=lambda now: now + 61.0,
        slow_gap=2.5,
        slow_by="X-RateLimit",
        told=lambda now: {"X-RateLimit": [3, 100, now + 61.0], "day": [5, None, None]},
        told_at=lambda now: now - 4.0,
    )
    store = open_store(store_place)
    rates = read_rates("20/s 5000/d")
    store.budgets.change("s4", lambda s, now: book(s, rates, now, want=4, slice_secs=1, most_secs=1e9))
    store.close()
    code, out, err = shell("connections", "list", "--env", "qa")
    block = out[out.index("s4  ") :].splitlines()[1:7]
    assert (code, err) == (0, "")
    assert block[1] == "  4999 of 5000 in 1 d left"
    assert block[2].startswith("  paused for 9 min ") and block[2].endswith(
        "as retry-after said; a check asks all the same"
    )
    assert block[3] == "  slowed down for 1 min: 2.5 s between requests, as X-RateLimit said" or "for 60 s" in block[3]
    assert block[4].startswith("  X-RateLimit: 3 of 100 left, anew in ") and block[4].endswith("told 4 s ago")
    assert block[5] == "  day: 5 left, told 4 s ago"


def test_a_check_asks_in_spite_of_a_pause_and_ends_it(shell: Shell, shop: Any, store_place: Path | str) -> None:
    put(store_place, "xcart", paused_until=lambda now: now + 80_000.0, paused_by="retry-after")
    shop.faults = Faults.parse("429;retry_after=50")
    code, out, _ = shell("connections", "check", "xcart", "--env", "qa")
    state, now = known(store_place)
    assert code == 4 and state.paused_until > now + 70_000, "an answer that is 429 ends nothing"
    assert "paused for 22 h" in out
    code, out, _ = shell("connections", "check", "xcart", "--env", "qa")
    state, now = known(store_place)
    assert code == 0 and state.paused_until <= now and "paused" not in out
