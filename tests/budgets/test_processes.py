"""Real processes that share one budget through the database, against a system that notes when each request came."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowrun.store import Store, open_store
from tests.budgets.kit import Noting, client_of, most_in, shared_budgets

ROOT = Path(__file__).parents[2]


@pytest.fixture
def place(postgres: Any) -> Iterator[str]:
    made: str = postgres()
    open_store(made).close()  # migrated
    yield made


def started(
    count: int, place: str, base_url: str, limits: dict[str, Any], secs: float, threads: int = 1
) -> list[subprocess.Popen[str]]:
    command = [
        sys.executable,
        "-m",
        "tests.budgets.worker",
        place,
        base_url,
        json.dumps(limits),
        str(secs),
        str(threads),
    ]
    found = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    for one in found:
        assert one.stdout is not None and one.stdout.readline() == "ready\n"
    for one in found:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    return found


def said(workers: list[subprocess.Popen[str]]) -> list[dict[str, int]]:
    return [json.loads(one.communicate(timeout=60)[0] or "{}") for one in workers]


def test_four_processes_keep_one_rate_and_use_it(place: str) -> None:
    """40 a second between them, whoever is quickest; the fullest second wherever it begins; each gets its share."""
    system = Noting()
    with system.running() as base_url:
        found = said(started(4, place, base_url, {"rate": "40/s"}, 4))
    counts = [one.get("200", 0) for one in found]
    assert most_in(system.times, 1.0) <= 42, "two for requests that were late on their way"
    assert sum(counts) >= 40 * 4 * 0.75, "the rate is there to be used"
    assert min(counts) >= sum(counts) / 4 * 0.5, f"a process starves: {counts}"


def test_what_a_killed_process_had_booked_comes_back(place: str) -> None:
    system = Noting()
    with system.running() as base_url:
        workers = started(4, place, base_url, {"rate": "40/s"}, 5)
        time.sleep(1.5)
        workers[0].kill()
        at = time.monotonic()
        rest = said(workers[1:])
    after = [one for one in system.times if at + 1.0 <= one < at + 3.0]
    assert len(after) >= 2 * 40 * 0.75, "three use what four had"
    assert most_in(system.times, 1.0) <= 42
    assert all(one["200"] > 10 for one in rest)


def test_a_pause_that_one_was_told_is_kept_by_all(store: Store, store_place: Any) -> None:
    """Each is another process' budget, as far as the database knows. It is seen within the slice that is booked."""
    system = Noting()
    with (
        system.running() as base_url,
        shared_budgets(store_place) as others,
        client_of(base_url, store.budgets) as mine,
        client_of(base_url, others) as theirs,
    ):
        assert theirs.get("a").status_code == 200
        system.faults = system.faults.parse("429;retry_after=2")
        begun = time.monotonic()
        assert mine.get("a").status_code == 429
        time.sleep(1.1)  # longer than a slice
        assert theirs.get("a").status_code == 200
        assert 2.0 <= system.times[-1] - begun < 3.0
        assert others.waits["shop"] > 0.5


def test_two_processes_of_two_connections_do_not_slow_each_other(place: str) -> None:
    slow, quick = Noting(), Noting()
    with slow.running() as slow_url, quick.running() as quick_url:
        a = started(1, place, slow_url, {"name": "slow", "rate": "2/s"}, 2)
        b = started(1, place, quick_url, {"name": "quick", "rate": "60/s"}, 2)
        said(a + b)
    assert len(slow.times) <= 6 and len(quick.times) > 30, "with one pace for both it would be as few"
