"""Both sides compared by the clock: what differs is told, or mended; numbers for who watches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import update

from flowrun.store import open_store
from flowrun.store import schema as t
from tests.service.serving import ORDERS, Serving, delivered, known_customer, placed, serving, until

STOCK = "s4-stock-to-xcart"
FULL = 'cursor: order.updated_at, full: "0 3 1 1 *", owns: all'


def compared(here: Serving, flow: str) -> None:
    """Its time has come; waits until the comparison is over."""
    before = len([one for one in here.store.runs(flow, 1000) if one["kind"] == "full" and one["counts"]])
    with here.store.transaction() as tx:
        mine = (t.schedules.c.flow == flow, t.schedules.c.kind == "full")
        assert tx.execute(update(t.schedules).where(*mine).values(due=0.0)).rowcount == 1
    here.service.wake()
    until(lambda: len([one for one in here.store.runs(flow, 1000) if one["kind"] == "full" and one["counts"]]) > before)
    until(lambda: all(one.worker is None for one in here.store.schedules.all()))


def test_what_differs_is_told_and_ends_when_it_is_right_again(
    project: Path, store_place: Path | str, shop: Any, erp: Any
) -> None:
    flow = project / "flows/xcart-s4hana/orders-to-s4.yaml"
    flow.write_text(flow.read_text().replace("cursor: order.updated_at", FULL))
    known_customer(store_place)
    placed(shop, [1, 2, 3])
    with serving(project, store_place, shop, erp) as here:
        until(lambda: here.store.counts(ORDERS) == {"confirmed": 3})
        compared(here, ORDERS)
        assert here.store.alerts.open() == []
        lost = erp.orders.pop(0)
        compared(here, ORDERS)
        (alert,) = until(here.store.alerts.open)
        assert (alert.kind, alert.flow) == ("difference", ORDERS)
        assert alert.message.endswith("missing: 1")
        assert delivered(erp) == [2, 3]  # report, which is what it does without a word
        until(lambda: here.metric("flowrun_reconcile_differences").get(f'flow="{ORDERS}",kind="missing"') == 1, 30)
        erp.orders.insert(0, lost)
        compared(here, ORDERS)
        until(lambda: here.store.alerts.open()[0].settled_at is not None if here.store.alerts.open() else True)


def test_what_differs_is_mended(project: Path, tmp_path: Path, shop: Any, erp: Any) -> None:
    """The shipped stock flow says on_difference: repair; its guard is of a share, and here one is all there is."""
    place = tmp_path / "state.db"
    flow = project / "flows/xcart-s4hana/stock-to-xcart.yaml"
    flow.write_text(flow.read_text().replace(", max_share: 40%", ""))
    number = shop.add_product("AB-1", "Mug", "1.00", 0)
    store = open_store(place)
    store.xrefs.put([("products", "AB-1", str(number))], "tester")
    store.close()
    erp.add_stock("AB-1", "1710", "12")
    with serving(project, place, shop, erp) as here:
        until(lambda: here.store.counts(STOCK) == {"confirmed": 1})
        held = shop.products[number]["amount"]
        shop.products[number]["amount"] = 999
        compared(here, STOCK)
        until(lambda: shop.products[number]["amount"] == held)
        until(lambda: here.store.counts(STOCK) == {"confirmed": 2})
        assert here.store.alerts.open() == []
        compared(here, STOCK)
        assert here.store.counts(STOCK) == {"confirmed": 2}


def test_the_guard_of_a_nightly_repair(project: Path, tmp_path: Path, shop: Any, erp: Any) -> None:
    place = tmp_path / "state.db"
    flow = project / "flows/xcart-s4hana/stock-to-xcart.yaml"
    flow.write_text(flow.read_text().replace("max_changes: 2000, max_share: 40%", "max_changes: 2"))
    numbers = []
    store = open_store(place)
    for n in range(3):
        numbers.append(shop.add_product(f"AB-{n}", "Mug", "1.00", 0))
        store.xrefs.put([("products", f"AB-{n}", str(numbers[-1]))], "tester")
    store.close()
    with serving(project, place, shop, erp) as here:
        for n in range(3):
            erp.add_stock(f"AB-{n}", "1710", "12")
            with here.store.transaction() as tx:
                tx.execute(update(t.schedules).where(t.schedules.c.kind == "poll").values(due=0.0))
            here.service.wake()
            until(lambda n=n: here.store.counts(STOCK) == {"confirmed": n + 1})  # type: ignore[misc]
        for number in numbers:
            shop.products[number]["amount"] = 999
        compared(here, STOCK)
        kinds = {one.kind for one in until(here.store.alerts.open)}
        assert kinds == {"difference", "guard"}
        assert all(shop.products[number]["amount"] == 999 for number in numbers)
        assert here.store.counts(STOCK) == {"confirmed": 3}


def test_the_loss_of_webhooks_as_a_share(project: Path, tmp_path: Path, shop: Any, erp: Any) -> None:
    place = tmp_path / "state.db"
    flow = project / "flows/xcart-s4hana/orders-to-s4.yaml"
    flow.write_text(flow.read_text().replace("every: 15m", "every: 2s"))
    known_customer(place)
    placed(shop, [1])
    with serving(project, place, shop, erp) as here:
        until(lambda: delivered(erp) == [1])
        placed(shop, [2])
        until(lambda: delivered(erp) == [1, 2])
        losses = here.store.repairs.losses(ORDERS)
        assert (losses.brought, losses.missed, losses.rate) == (0, 1, 1.0)  # the first pass is no loss
        until(lambda: here.metric("flowrun_webhook_loss_ratio").get(f'flow="{ORDERS}"') == 1.0, 30)
