"""Thin events: the record is read back, however often that fails; what is not there is given up with a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from flowrun.errors import AuthFailed, RateLimited, Unavailable
from flowrun.service import reading_back
from tests.conftest import connect_shop
from tests.service.serving import ORDERS, delivered, known_customer, placed, serving, until


class Shop:
    """The shop's connector, whose reads of one record go wrong first."""

    def __init__(self, inner: Any, *answers: Any) -> None:
        self.inner, self.answers, self.asked = inner, list(answers), 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def get(self, object: str, key: Mapping[str, Any], expand: Sequence[str] = ()) -> Any:
        self.asked += 1
        answer = self.answers.pop(0) if self.answers else "there"
        if isinstance(answer, Exception):
            raise answer
        return None if answer == "absent" else self.inner.get(object, key, expand)

    def receive(self, request: Any) -> Any:
        return self.inner.receive(request)

    def read(self, query: Any) -> Any:
        return iter(())  # nothing but webhooks brings anything here


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_back, "FIRST_WAIT_SECS", 0.01)


@pytest.mark.parametrize(
    "answers",
    [
        [Unavailable("down")] * 3,
        [RateLimited("slower", retry_after_secs=0.1)],
        ["absent"] * 3,
        [AuthFailed("who are you")],
        [ValueError("a bug")],
        ["absent", Unavailable("down"), "absent"],
    ],
    ids=["down", "slower", "shown late", "refused", "broken", "all of it"],
)
def test_it_is_read_in_the_end(project: Path, store_place: Path | str, shop: Any, erp: Any, answers: list[Any]) -> None:
    known_customer(store_place)
    placed(shop, [7])
    odd = Shop(connect_shop(shop, project), *answers)
    with serving(project, store_place, shop, erp, connections={"xcart": odd}) as here:
        assert here.hook(*shop.webhook(7)).status_code == 200
        until(lambda: delivered(erp) == [7])
        assert odd.asked == len(answers) + 1
        assert here.store.events.waiting() == []


def test_what_is_never_there_is_given_up_with_a_reason(project: Path, tmp_path: Path, shop: Any, erp: Any) -> None:
    from sqlalchemy import text

    placed(shop, [7])
    odd = Shop(connect_shop(shop, project), *["absent"] * 50)
    with serving(project, tmp_path / "state.db", shop, erp, connections={"xcart": odd}) as here:
        here.hook(*shop.webhook(7))
        until(lambda: odd.asked == reading_back.MOST_ABSENT)
        until(lambda: here.store.events.waiting() == [])
        with here.store.transaction() as tx:
            why = tx.execute(text("SELECT error FROM events")).scalar_one()
        assert why == "xcart has no orders order_id 7, customer_id 42"
        assert here.store.counts(ORDERS) == {}


def test_a_system_that_is_away_raises_an_alert_which_ends(project: Path, tmp_path: Path, shop: Any, erp: Any) -> None:
    known_customer(tmp_path / "state.db")
    placed(shop, [7])
    odd = Shop(connect_shop(shop, project), *[AuthFailed("who are you")] * 3)
    with serving(project, tmp_path / "state.db", shop, erp, connections={"xcart": odd}) as here:
        here.hook(*shop.webhook(7))
        until(lambda: [one.kind for one in here.store.alerts.open()] == ["auth"])
        until(lambda: delivered(erp) == [7])
        until(lambda: all(one.settled_at for one in here.store.alerts.open()))


def test_many_events_of_one_order_are_one_read(project: Path, tmp_path: Path, shop: Any, erp: Any) -> None:
    known_customer(tmp_path / "state.db")
    placed(shop, [7])
    odd = Shop(connect_shop(shop, project), Unavailable("down"))
    with serving(project, tmp_path / "state.db", shop, erp, connections={"xcart": odd}) as here:
        for n in range(20):
            here.hook(*shop.webhook(7, id_=f"e{n}"))
        until(lambda: delivered(erp) == [7])
        until(lambda: here.store.events.waiting() == [])
        assert odd.asked < 20
        assert here.store.counts(ORDERS) == {"confirmed": 1}
