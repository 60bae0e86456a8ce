"""Runs over real HTTP: orders of a simulated shop become sales orders of a simulated S/4HANA, once each."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import connect_erp, connect_shop

from flowrun.connector import discover
from flowrun.flow import load_flow
from flowrun.plan import compile_plan
from flowrun.project import load_project
from flowrun.runner import Summary, run_flow
from flowrun.store import Incoming, Intent, Store, fingerprint, open_store
from flowrun.testing.faults import Faults
from flowrun.values import system_clock


class World:
    """Both systems, a store, and the shipped flow."""

    def __init__(self, root: Path, shop: Any, erp: Any) -> None:
        self.root, self.shop, self.erp = root, shop, erp
        self.project = load_project(root)
        self.flow = load_flow("xcart-orders-to-s4", self.project, discover())
        self.plan = compile_plan(self.flow, self.project.environment("test").values)
        self.slept = 0.0
        self.store: Store = open_store(root / "state.db", now=lambda: system_clock() + timedelta(seconds=self.slept))
        self.store.xrefs.put([("customers", "42", "17100001")], "tester")

    def place(self, *ids: int, **more: Any) -> None:
        for number in ids:
            self.shop.place_order([("ab-1", "Mug", 2, "10.00")], order_id=number, **more)

    def sleep(self, secs: float) -> None:
        """Nobody waits: the store's clock is moved instead."""
        self.slept += secs

    def run(self, **more: Any) -> Summary:
        target = connect_erp(self.erp, self.root, limits={"timeout": "0.4"})
        source = connect_shop(self.shop, self.root)
        try:
            return run_flow(
                self.flow,
                self.plan,
                target=target,
                source=source,
                store=self.store,
                sleep=self.sleep,
                wait_secs=3600,
                **more,
            )
        finally:
            target.http.close()
            source.http.close()

    def at_target(self) -> list[str]:
        return sorted(order["PurchaseOrderByCustomer"] for order in self.erp.orders)


@pytest.fixture
def world(project: Path, shop: Any, erp: Any) -> Iterator[World]:
    made = World(project, shop, erp)
    yield made
    made.store.close()


def test_orders_arrive_once_and_a_second_run_sends_nothing(world: World) -> None:
    world.place(1, 2, 3)
    first = world.run()
    assert (first.received, first.counts.confirmed, first.counts.sends) == (3, 3, 3)
    second = world.run()
    assert (second.received, second.counts.sends) == (0, 0)
    assert world.at_target() == ["XC-1", "XC-2", "XC-3"]
    assert world.store.xrefs.look_up("orders", ["1", "2", "3"]).keys() == {"1", "2", "3"}


def test_every_record_ends_in_exactly_one_outcome(world: World) -> None:
    world.place(1, 2)
    world.place(3, customer_id=77)
    world.place(4, status="Q")
    summary = world.run()
    counts = world.store.counts(world.flow.name)
    assert counts == {"confirmed": 2, "dead": 1, "skipped": 1}
    assert sum(counts.values()) == summary.received


@pytest.mark.parametrize(
    "faults",
    [
        "429*2;method=POST", "503*2;method=POST", "reset_before*1;method=POST", "reset_after*1;method=POST",
        "timeout_after*1;method=POST;hang=1", "garbage*1;method=POST", "html200*1;method=POST", "truncated*1;method=POST",
        "500*1;method=POST", "500_after*1;method=POST", "garbage_after*1;method=POST", "reset_after:0.4;method=POST;seed=3",
    ],
)  # fmt: skip
def test_a_target_that_misbehaves_still_has_each_order_once(world: World, faults: str) -> None:
    world.place(*range(1, 7))
    world.erp.faults = Faults.parse(faults)
    summary = world.run()
    assert world.at_target() == [f"XC-{n}" for n in range(1, 7)], summary
    assert world.store.counts(world.flow.name) == {"confirmed": 6}


def test_retry_after_is_waited_for(world: World) -> None:
    world.place(1)
    world.erp.faults = Faults.parse("429*1;method=POST;retry_after=1200")
    world.run()
    assert world.slept >= 1199
    assert world.at_target() == ["XC-1"]


def test_a_refused_order_says_why_in_the_vendors_words(world: World) -> None:
    world.shop.place_order([("zz-9", "Nothing", 1, "1.00")], order_id=9)
    world.run()
    (row,) = world.store.records(flow=world.flow.name, state="dead")
    assert row.error_class == "rejected"
    assert "V1/382" in (row.error_message or "")
    assert "ZZ-9" in (row.error_message or "")
    assert row.body is not None


def test_a_corrected_dead_letter_is_delivered_once(world: World) -> None:
    world.place(1, customer_id=77)
    world.run()
    (row,) = world.store.records(flow=world.flow.name, state="dead")
    world.store.letters.edit(row, {**row.payload, "customer_id": "42"}, "tester")
    world.store.letters.replay([row], "tester")
    world.run(intake=False)
    assert world.at_target() == ["XC-1"]
    assert world.store.counts(world.flow.name) == {"confirmed": 1}


def test_a_newer_version_closes_the_older_dead_letter(world: World) -> None:
    world.place(1, customer_id=77)
    world.run()
    order = world.shop.orders[1]
    order["customer_id"] = 42
    order["update_date"] = "2030-01-01T00:00:00+0000"
    world.run()
    assert world.at_target() == ["XC-1"]
    assert world.store.counts(world.flow.name) == {"superseded": 1, "confirmed": 1}


def test_another_body_under_a_known_key_is_a_duplicate_never_a_silent_success(world: World) -> None:
    world.place(1)
    world.run()
    order = world.shop.orders[1]
    order["update_date"] = "2030-01-01T00:00:00+0000"
    order["items"][0]["name"] = "Another mug"
    world.run()
    (row,) = world.store.records(flow=world.flow.name, state="dead")
    assert row.error_class == "duplicate"
    assert "to_Item" in (row.error_message or "")
    assert row.flag == "review"
    assert world.at_target() == ["XC-1"]


def test_two_at_the_target_are_held_for_a_person(world: World) -> None:
    world.place(1)
    row_source = connect_shop(world.shop, world.root)
    record = row_source.get("orders", {"order_id": 1})
    world.store.inbox.add(world.flow.name, [Incoming("1", record["updated_at"], "1", record)])
    held = world.store.lanes.claim(world.flow.name, 5, "w")
    body = {"PurchaseOrderByCustomer": "XC-1"}
    world.store.outcomes.advance(held, [], [Intent(held.rows[0], "xcart-1", body, fingerprint(body))])
    world.store.lanes.release(held)
    for number in ("901", "902"):
        world.erp.orders.append({"SalesOrder": number, "PurchaseOrderByCustomer": "XC-1"})
    world.run(intake=False)
    (dead,) = world.store.records(flow=world.flow.name, state="dead")
    assert dead.error_class == "conflict"
    assert "901" in (dead.error_message or "")


def test_a_refused_credential_pauses_and_keeps_everything(world: World) -> None:
    world.place(1, 2)
    target = connect_erp(world.erp, world.root, auth={"basic": {"user": "x", "password": "canary-9d1f"}})
    summary = run_flow(
        world.flow,
        world.plan,
        target=target,
        source=connect_shop(world.shop, world.root),
        store=world.store,
        sleep=world.sleep,
    )
    assert summary.counts.paused
    assert world.store.counts(world.flow.name) == {"received": 2}
    assert (
        len([r for r in world.erp.log if r.method in ("GET", "POST")]) <= 2
    )  # a wrong password is not tried again and again
    world.run()
    assert world.at_target() == ["XC-1", "XC-2"]
    database = b"".join(p.read_bytes() for p in world.root.glob("state.db*"))
    assert b"canary-9d1f" not in database


def test_stock_is_grouped_summed_and_sent_only_when_it_changed(world: World) -> None:
    flow = load_flow("s4-stock-to-xcart", world.project, discover())
    plan = compile_plan(flow, world.project.environment("test").values)
    number = world.shop.add_product("AB-1", "Mug", "10.00", quantity=3)
    world.store.xrefs.put([("products", "AB-1", str(number))], "tester")
    world.erp.add_stock("AB-1", "1710", "7")
    world.erp.add_stock("AB-1", "1720", "5.5")
    world.erp.add_stock("AB-1", "9999", "100")
    world.erp.add_stock("ZZ-9", "1710", "1")

    def run() -> Summary:
        return run_flow(
            flow,
            plan,
            source=connect_erp(world.erp, world.root),
            target=connect_shop(world.shop, world.root),
            store=world.store,
            sleep=world.sleep,
        )

    first = run()
    assert (first.counts.confirmed, first.counts.skipped) == (1, 1)
    assert world.shop.products[number]["amount"] == 10  # 7 + 5 - 2 of safety stock
    assert world.shop.products[number]["name"] == "Mug"  # a PUT resets what it leaves out
    assert run().counts.sends == 0
    world.erp.add_stock("AB-1", "1710", "0.2", location="171B")  # another record, the same quantity
    assert run().counts.unchanged == 1
