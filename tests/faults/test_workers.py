"""Workers come and go all the time: what a killed one held is taken over by itself, soon after its lease.

The full size: pytest -m soak tests/faults/test_workers.py
"""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from flowrun.store import Store, open_store
from tests.faults.mill import Mill, finished, gone

TAKEN_OVER_SECS = 5.0  # after the lease


def held_by(store: Store, pid: int) -> int:
    """Lanes that a process still holds, by its name."""
    with store.transaction() as tx:
        count = tx.execute(
            text("SELECT count(*) FROM lanes WHERE worker LIKE :name"), {"name": f"%-{pid}-%"}
        ).scalar_one()
    return int(count)


TAKE_OVERS = """
CREATE TABLE take_overs (lane text);
CREATE FUNCTION take_over() RETURNS trigger AS $$
    BEGIN INSERT INTO take_overs VALUES (NEW.lane); RETURN NULL; END
$$ LANGUAGE plpgsql;
CREATE TRIGGER take_over AFTER UPDATE ON lanes FOR EACH ROW
    WHEN (OLD.worker IS NOT NULL AND NEW.fence > OLD.fence) EXECUTE FUNCTION take_over();
"""


def count_take_overs(store: Store) -> None:
    """The database notes each lane that is claimed while somebody has it: a killed worker's, or, on a machine under load,
    one whose lease was not renewed in time."""
    with store.transaction() as tx:
        for statement in TAKE_OVERS.replace("; RETURN NULL; END", "| RETURN NULL| END|").split(";\n"):
            if statement.strip():
                tx.execute(text(statement.replace("|", ";")))


def taken_over(store: Store) -> int:
    with store.transaction() as tx:
        return int(tx.execute(text("SELECT count(*) FROM take_overs")).scalar_one())


def replaced_all_the_time(mill: Mill, workers: int, kills: int, every_secs: float) -> None:
    with closing(open_store(mill.place)) as store:
        count_take_overs(store)
    children = [mill.start() for _ in range(workers)]
    deaths: list[tuple[float, int]] = []  # when, and of which process
    caught = 0
    mill.reached(1)
    with closing(open_store(mill.place)) as store:
        begun = time.monotonic()
        for kill in range(1, kills + 1):
            time.sleep(max(0.0, begun + kill * every_secs - time.monotonic()))
            are_taken_over(mill, store, deaths)
            victim = max(children, key=lambda child: held_by(store, child.pid))
            gone(victim)
            if held_by(store, victim.pid):  # it may have given back what it held in this very moment
                deaths.append((time.monotonic(), victim.pid))
                caught += 1
            children[children.index(victim)] = mill.start()
        assert caught > kills // 2, "there is not enough to do"
        while deaths:
            are_taken_over(mill, store, deaths)
            time.sleep(0.1)
        for child in children:
            assert finished(child, 300)["waiting"] == 0
        taken = taken_over(store)
    mill.all_once()
    assert mill.sends() <= mill.orders + taken
    asked = len(mill.looked_up())
    print(f"{kills} kills, {caught} of who held something: {taken} lanes taken over, {asked} orders asked for")
    assert asked <= taken, "only what somebody may have sent is asked for"


def are_taken_over(mill: Mill, store: Store, deaths: list[tuple[float, int]]) -> None:
    """What died long enough ago holds nothing any more, and is struck off."""
    while deaths and time.monotonic() > deaths[0][0] + mill.told["lease"] + TAKEN_OVER_SECS:
        assert held_by(store, deaths[0][1]) == 0, "nobody took over"
        del deaths[0]


def limited(rate: int) -> dict[str, Any]:
    return {"limits": {"limits": {"rate": f"{rate}/s"}}, "wait": 60}


def test_three_workers_of_which_one_is_always_killed(project: Path, postgres: Any, erp: Any, shop: Any) -> None:
    mill = Mill(project, postgres(), erp, shop, 150, lanes=90, **limited(8))
    replaced_all_the_time(mill, 3, 3, 1.5)


@pytest.mark.soak
def test_five_workers_of_which_one_is_killed_every_second(project: Path, postgres: Any, erp: Any, shop: Any) -> None:
    """For two minutes. Not more lanes than they can hold together: what is taken over waits behind what was due before."""
    mill = Mill(project, postgres(), erp, shop, 5000, lanes=150, **limited(15))
    replaced_all_the_time(mill, 5, 120, 1.0)
