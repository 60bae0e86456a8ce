"""plan, run --plan, diff and trace over a store that several machines share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import create_engine, inspect

from flowrun.store import open_store
from tests.planning.plankit import ORDERS, Desk


@pytest.fixture
def shared(desk: Desk, postgres: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> str:
    place = postgres()
    monkeypatch.setenv("FLOWRUN_STORE", place)
    return place


def test_an_empty_database_stays_empty(desk: Desk, shared: str) -> None:
    desk.place(1, customer_id=None)
    assert desk.plan(ORDERS)["totals"] == {"create": 1}
    engine = create_engine(shared.replace("postgresql://", "postgresql+psycopg://"))
    assert inspect(engine).get_table_names() == []
    engine.dispose()


def test_the_same_story_beside_another_worker(desk: Desk, shared: str) -> None:
    desk.git("init", "-q")
    desk.commit()
    other = open_store(shared)  # another machine has it open all the while
    other.xrefs.put([("customers", "42", "17100001")], "tester")
    desk.place(1, 2)
    assert desk.plan(ORDERS)["totals"] == {"create": 2}
    assert other.counts(ORDERS) == {}
    first = desk.apply(ORDERS)
    assert first.code == 0, first.out + first.err
    assert "0 sent" in desk.apply(ORDERS).out
    assert desk.arrived() == ["XC-1", "XC-2"]
    assert other.counts(ORDERS) == {"confirmed": 2}
    told = desk.flowrun("trace", "1", "--flow", ORDERS, "--env", "qa")
    assert "answered    created: 1 as xcart-1" in told.out
    desk.edit("flows/xcart-s4hana/orders-to-s4.yaml", "- { value: OR }", "- { value: OX }")
    assert desk.flowrun("diff", ORDERS, "--env", "qa", "--against", "HEAD").code == 1
    other.close()
