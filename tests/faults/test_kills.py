"""Processes are killed, at random times and at the worst, over real sockets: each order stands once at the target.

The full size: FLOWRUN_KILL_ORDERS=10000 FLOWRUN_KILLS=20 pytest -m soak tests/faults/test_kills.py
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from flowrun.testing.faults import Faults
from tests.faults.mill import SUB_BATCH, Mill, finished, gone

MIX = (
    "503:0.04,reset_after:0.04,500_after:0.04,429:0.04,garbage_after:0.03,reset_before:0.03,half_open:0.01;"
    "seed=3;retry_after=1;only=writes"
)


def killed_and_started(project: Path, place: Path | str, erp: Any, shop: Any, orders: int, kills: int) -> None:
    mill = Mill(
        project, place, erp, shop, orders, 1.0 if isinstance(place, str) else 50.0, lanes=orders // 20, lease=2.0
    )
    chance = random.Random(7)
    for _ in range(kills):
        child = mill.start()
        mill.reached(min(orders - 2, len(erp.orders) + chance.randint(1, max(1, orders // (kills + 1)))))
        time.sleep(chance.random() * 0.02)
        gone(child)
    finished(mill.start())
    mill.all_once()
    assert len(mill.looked_up()) <= kills * SUB_BATCH
    assert mill.sends() <= orders + kills, "of what is known as done nothing is sent again"


def test_killed_at_random_times(project: Path, store_place: Path | str, erp: Any, shop: Any) -> None:
    killed_and_started(project, store_place, erp, shop, 80, 3)


def test_killed_among_lost_answers_and_garbage(project: Path, store_place: Path | str, erp: Any, shop: Any) -> None:
    """Look-ups are for lost answers here, too, so only the orders are counted."""
    among_lost_answers(project, store_place, erp, shop, 60, 2)


def among_lost_answers(project: Path, place: Path | str, erp: Any, shop: Any, orders: int, kills: int) -> None:
    erp.faults = Faults.parse(MIX)
    mill = Mill(project, place, erp, shop, orders, 200.0, lanes=orders // 2, limits={"limits": {"timeout": "1s"}})
    for kill in range(1, kills + 1):
        child = mill.start()
        mill.reached(orders * kill // (kills + 2))
        gone(child)
    for _ in range(10):
        if finished(mill.start())["waiting"] == 0:
            break
    mill.all_once()
    assert len(set(erp.faults.hit)) >= 4, erp.faults.hit


ORDERS, KILLS = int(os.environ.get("FLOWRUN_KILL_ORDERS", "10000")), int(os.environ.get("FLOWRUN_KILLS", "20"))


@pytest.mark.soak
def test_killed_at_random_times_for_long(project: Path, store_place: Path | str, erp: Any, shop: Any) -> None:
    killed_and_started(project, store_place, erp, shop, ORDERS, KILLS)


@pytest.mark.soak
def test_killed_among_lost_answers_for_long(project: Path, store_place: Path | str, erp: Any, shop: Any) -> None:
    among_lost_answers(project, store_place, erp, shop, ORDERS // 10, KILLS)


def killed_while_it_hangs(mill: Mill, kills: int, plant: str = "") -> None:
    """The target took an order and does not answer; then the worker is gone."""
    mill.erp.faults = Faults.parse("timeout_after*;only=writes;hang=60")
    for kill in range(1, kills + 1):
        child = mill.start(plant=plant)
        mill.reached(kill)
        gone(child)
    mill.erp.faults = Faults()
    finished(mill.start())
    mill.all_once()
    asked = "".join(mill.looked_up())
    assert all(f"'XC-{number}'" in asked for number in range(1, kills + 1)), asked
    assert mill.sends() == mill.orders


def test_killed_between_the_targets_commit_and_ours(
    project: Path, store_place: Path | str, erp: Any, shop: Any
) -> None:
    killed_while_it_hangs(Mill(project, store_place, erp, shop, 6, lanes=1, lease=2.0), 2)


@pytest.mark.soak
def test_killed_between_the_targets_commit_and_ours_for_long(
    project: Path, store_place: Path | str, erp: Any, shop: Any
) -> None:
    killed_while_it_hangs(Mill(project, store_place, erp, shop, 110, lanes=1, lease=2.0), 100)


def test_a_missing_intent_is_found(project: Path, store_place: Path | str, erp: Any, shop: Any) -> None:
    mill = Mill(project, store_place, erp, shop, 2, lanes=1, lease=2.0)
    with pytest.raises(AssertionError):
        killed_while_it_hangs(mill, 1, "no_intent")
    assert len(mill.erp.orders) == 3, "one stands twice"
