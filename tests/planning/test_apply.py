"""flowrun run --plan: exactly what was planned, once; or nothing, with what moved."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select, update

from flowrun.store import Incoming
from flowrun.store.schema import lanes, records
from flowrun.testing.faults import Faults
from flowrun.values import decode_json, encode_json
from tests.planning.plankit import BACK, ORDERS, STOCK, Desk


def refused(desk: Desk, flow: str, *said: str, env: str = "qa") -> None:
    """The plan is refused with these words, and nothing happened anywhere."""
    sent, states, cursor = desk.writes(), desk.states(flow), desk.cursor(flow)
    ended = desk.flowrun("run", flow, "--env", env, "--plan", "plan.json")
    assert ended.code == 3, ended.out + ended.err
    for words in said:
        assert words in ended.err
    assert (desk.writes(), desk.states(flow), desk.cursor(flow)) == (sent, states, cursor)


@pytest.fixture
def stock(desk: Desk) -> int:
    """A product of the shop whose quantity is to change from 3 to 5; returns its number."""
    number = desk.shop.add_product("AB-1", "Mug", "10.00", quantity=3)
    desk.remember("products", "AB-1", str(number))
    desk.erp.add_stock("AB-1", "1710", "7")
    assert desk.plan(STOCK)["totals"] == {"update": 1}
    return number


def test_exactly_the_planned_bodies_arrive_and_a_second_time_nothing_is_sent(desk: Desk) -> None:
    desk.place(1, 2)
    desk.plan(ORDERS)
    planned = [one["body"] for one in decode_json((desk.root / "plan.json").read_bytes())["records"]]
    first = desk.apply(ORDERS)
    assert first.code == 0, first.out + first.err
    store = desk.store()
    assert [row.body for row in store.records(flow=ORDERS)] == planned
    store.close()
    sent = desk.writes()
    again = desk.apply(ORDERS)
    assert again.code == 0
    assert "2 of 2 records of the plan had ended before" in again.out
    assert desk.writes() == sent
    assert desk.arrived() == ["XC-1", "XC-2"]


def test_each_record_ends_as_planned_and_the_cursor_stands_where_the_run_would_have_left_it(desk: Desk) -> None:
    desk.place(1)
    desk.place(2, customer_id=77)
    desk.place(3, status="Q")
    desk.erp.orders.append({"SalesOrder": "900", "PurchaseOrderByCustomer": "XC-4"})
    desk.place(4)
    desk.plan(ORDERS, code=1)
    ended = desk.apply(ORDERS)
    assert ended.code == 1, ended.out + ended.err
    assert desk.states(ORDERS) == {"confirmed": 1, "dead": 2, "skipped": 1}
    assert desk.arrived() == ["XC-1", "XC-4"]
    assert desk.cursor(ORDERS) == "2026-05-04T10:04:00Z"
    store = desk.store()
    dead = {row.key: row for row in store.records(flow=ORDERS, state="dead")}
    store.close()
    assert (dead["2"].error_class, dead["2"].error_field) == ("bad_data", "vars.sold_to")
    assert (dead["2"].error_place or "").startswith("flows/xcart-s4hana/orders-to-s4.yaml:33")
    assert (dead["4"].error_class, dead["4"].error_message) == ("duplicate", "the target has it already: 900")
    assert "0 new" in desk.flowrun("run", ORDERS, "--env", "qa").out


def test_nothing_but_the_planned_records_is_sent(desk: Desk) -> None:
    desk.place(1)
    desk.plan(ORDERS)
    store = desk.store()
    source = [dict(one) for one in [desk.shop.orders[1]]]
    store.inbox.add(ORDERS, [Incoming("99", "2026-01-01T00:00:00Z", "99", {**source[0], "order_id": "99"})])
    store.close()
    desk.place(5)
    assert desk.apply(ORDERS).code == 0
    assert desk.arrived() == ["XC-1"]
    assert desk.states(ORDERS) == {"confirmed": 1, "received": 1}


def test_a_target_that_moved_is_said_field_by_field(desk: Desk, stock: int) -> None:
    desk.shop.products[stock]["amount"] = 4
    desk.shop.products[stock]["enabled"] = False
    refused(desk, STOCK, "AB-1: quantity was '3', is '4'", "AB-1: enabled was 'True', is 'False'")
    assert desk.shop.products[stock]["amount"] == 4


def test_what_is_masked_is_not_said_of_it(desk: Desk, stock: int) -> None:
    masked = 'privacy: { mask: ["group.rows[].MatlWrhsStkQtyInMatlBaseUnit"] }\n\nmap:\n'
    desk.edit("flows/xcart-s4hana/stock-to-xcart.yaml", "map:\n", masked)
    desk.plan(STOCK)
    desk.shop.products[stock]["amount"] = 4
    refused(desk, STOCK, "AB-1: quantity was '***', is '***'")


def test_what_the_plan_does_not_speak_of_may_move(desk: Desk, stock: int) -> None:
    desk.shop.products[stock]["name"] = "A finer mug"
    assert desk.apply(STOCK).code == 0
    assert (desk.shop.products[stock]["amount"], desk.shop.products[stock]["name"]) == (5, "A finer mug")


def test_an_object_that_is_gone(desk: Desk, stock: int) -> None:
    del desk.shop.products[stock]
    refused(desk, STOCK, "AB-1: the target does not have it any more")


def test_an_object_that_has_come(desk: Desk) -> None:
    desk.place(1)
    desk.plan(ORDERS)
    desk.erp.orders.append({"SalesOrder": "900", "PurchaseOrderByCustomer": "XC-1"})
    refused(desk, ORDERS, "1: the target has it now: 900")


def test_what_is_unchanged_is_held_against_the_target_too(desk: Desk, stock: int) -> None:
    desk.shop.products[stock]["amount"] = 5
    assert desk.plan(STOCK)["totals"] == {"unchanged": 1}
    desk.shop.products[stock]["amount"] = 6
    refused(desk, STOCK, "AB-1: quantity was '5', is '6'")
    desk.shop.products[stock]["amount"] = 5
    sent = desk.writes()
    assert desk.apply(STOCK).code == 0
    assert desk.states(STOCK) == {"confirmed": 1}
    assert desk.writes() == sent


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda plan: plan["records"][0]["body"].update(SoldToParty="0099999999"), "was changed after it was made"),
        (lambda plan: plan["records"].clear(), "was changed after it was made"),
        (lambda plan: plan.update(environment="prod"), "was changed after it was made"),
        (lambda plan: plan.update(hash="0" * 64), "was changed after it was made"),
    ],
)
def test_a_plan_that_was_tampered_with(desk: Desk, change: Any, said: str) -> None:
    desk.place(1)
    desk.plan(ORDERS)
    path = desk.root / "plan.json"
    plan = decode_json(path.read_bytes())
    change(plan)
    path.write_bytes(encode_json(plan))
    refused(desk, ORDERS, said)


def test_only_the_content_counts_not_how_it_is_written(desk: Desk) -> None:
    desk.place(1)
    desk.plan(ORDERS)
    path = desk.root / "plan.json"
    plan = decode_json(path.read_bytes())
    path.write_bytes(msgspec.json.format(encode_json(dict(reversed(plan.items()))), indent=2))
    assert desk.apply(ORDERS).code == 0
    assert desk.arrived() == ["XC-1"]


def test_what_is_no_plan(desk: Desk) -> None:
    (desk.root / "plan.json").write_text("{}")
    ended = desk.apply(ORDERS)
    assert ended.code == 2
    assert "is no plan" in ended.err


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("flows/xcart-s4hana/orders-to-s4.yaml", "value: ZBIG", "value: ZBIX", "the flow, a fragment, a table"),
        ("lookups/payment_methods.csv", "CC,D", "CC,E", "the flow, a fragment, a table"),
        (
            "flowrun.yaml",
            'qa:\n    values: { sales_org: "1710"',
            'qa:\n    values: { sales_org: "1711"',
            "the values of",
        ),
    ],
)
def test_other_ground(desk: Desk, file: str, old: str, new: str, said: str) -> None:
    desk.place(1)
    desk.plan(ORDERS)
    desk.edit(file, old, new)
    refused(desk, ORDERS, said)


def test_another_flow_and_another_environment(desk: Desk) -> None:
    desk.place(1)
    desk.plan(ORDERS)
    refused(desk, BACK, "the plan is for flow 'xcart-orders-to-s4'")
    ended = desk.flowrun("run", ORDERS, "--env", "prod", "--plan", "plan.json")
    assert ended.code == 3
    assert "the plan is for environment 'qa', not 'prod'" in ended.err


def test_a_cross_reference_that_changed(desk: Desk) -> None:
    desk.place(1)
    desk.plan(ORDERS)
    desk.remember("customers", "42", "17100002")
    refused(desk, ORDERS, "lookup customers: '42' was '17100001', is '17100002'")


def test_a_cross_reference_that_has_come(desk: Desk) -> None:
    desk.place(1, customer_id=77)
    desk.plan(ORDERS, code=1)
    desk.remember("customers", "77", "17100077")
    refused(desk, ORDERS, "lookup customers: '77' was nothing, is '17100077'")


def test_a_newer_version_that_has_come(desk: Desk) -> None:
    desk.place(1)
    desk.plan(ORDERS)
    desk.shop.touch(1)
    desk.erp.faults = Faults.parse("503*;path=A_SalesOrder")
    desk.flowrun("run", ORDERS, "--env", "qa", "--wait", "0")
    desk.erp.faults = Faults.parse("")
    refused(desk, ORDERS, "1: another record of this key came since")


def test_a_record_that_was_corrected_since(desk: Desk) -> None:
    desk.place(1, customer_id=77)
    desk.flowrun("run", ORDERS, "--env", "qa")
    store = desk.store()
    (row,) = store.records(flow=ORDERS, state="dead")
    store.letters.edit(row, {**row.payload, "customer_id": "42"}, "t")
    store.letters.replay([row], "t")
    store.close()
    assert desk.plan(ORDERS)["totals"] == {"create": 1}
    store = desk.store()
    with store.transaction() as tx:  # as failing, correcting and replaying it once more would leave it
        again = encode_json({**row.payload, "customer_id": "42", "email": "x@example.com"})
        tx.execute(update(records).where(records.c.seq == row.seq).values(payload=again))
    store.close()
    refused(desk, ORDERS, "1: the record was corrected since")


def test_cut_short_and_applied_again_each_order_stands_once(desk: Desk) -> None:
    """The answer of the second order is lost, and the retry does not come: the same plan goes on from there."""
    desk.place(1, 2, 3)
    desk.plan(ORDERS)
    desk.erp.faults = Faults.parse("reset_after*2;method=POST;path=A_SalesOrder")
    first = desk.apply(ORDERS, "--wait", "0")
    assert first.code == 4, first.out + first.err
    desk.erp.faults = Faults.parse("")
    again = desk.apply(ORDERS)
    assert again.code == 0, again.out + again.err
    assert desk.arrived() == ["XC-1", "XC-2", "XC-3"]
    assert desk.states(ORDERS) == {"confirmed": 3}


def test_a_body_that_is_not_in_the_plan_is_not_sent(desk: Desk) -> None:
    """The plan knows that the order arrived; it is deleted before the plan is applied. To send it is another plan."""
    desk.place(1)
    desk.erp.faults = Faults.parse("reset_after*1;method=POST;path=A_SalesOrder")
    desk.flowrun("run", ORDERS, "--env", "qa", "--wait", "0")
    desk.erp.faults = Faults.parse("")
    assert desk.plan(ORDERS)["totals"] == {"unchanged": 1}
    desk.erp.orders.clear()
    sent = desk.writes()
    ended = desk.apply(ORDERS, "--wait", "6")  # the retry is due in less
    assert ended.code == 4
    assert "this body is not in the plan" in ended.out
    assert desk.writes() == sent
    desk.flowrun("run", ORDERS, "--env", "qa")
    assert desk.arrived() == ["XC-1"]


def test_two_changes_of_one_object_go_in_order(desk: Desk) -> None:
    desk.place(1)
    desk.flowrun("run", ORDERS, "--env", "qa")
    order = desk.erp.orders[0]["SalesOrder"]
    desk.erp.deliver(order, tracking="A")
    desk.erp.deliver(order, tracking="B")
    assert desk.plan(BACK)["totals"] == {"update": 2}
    ended = desk.apply(BACK)
    assert ended.code == 0, ended.out + ended.err
    assert [one["value"] for one in desk.shop.orders[1]["tracking_numbers"]] == ["A", "B"]
    assert desk.states(BACK) == {"confirmed": 2}


def test_a_dead_letter_that_was_replayed_since_goes_first(desk: Desk) -> None:
    """It is older, in the same lane, and no part of the plan: what comes behind it waits for the next run."""
    desk.place(1)
    desk.flowrun("run", ORDERS, "--env", "qa")
    order = desk.erp.orders[0]["SalesOrder"]
    store = desk.store()
    store.inbox.add(BACK, [Incoming("70000001", None, order, {"DeliveryDocument": "70000001"})])
    store.close()
    desk.flowrun("run", BACK, "--env", "qa")
    assert desk.states(BACK) == {"dead": 1}
    desk.erp.deliver(order, tracking="A")
    assert desk.plan(BACK)["totals"] == {"update": 1}
    store = desk.store()
    store.letters.replay(store.records(flow=BACK, state="dead"), "t")
    store.close()
    sent, begun = desk.writes(), time.monotonic()
    ended = desk.apply(BACK, "--wait", "60")
    assert time.monotonic() - begun < 30  # it is given up at once, not looked at again and again
    assert "0 sent" in ended.out, ended.out
    assert desk.writes() == sent
    assert desk.states(BACK) == {"received": 2}


def test_hundreds_that_wait_for_the_next_run_are_not_in_the_way(desk: Desk) -> None:
    desk.place(1)
    desk.plan(ORDERS)
    store = desk.store()
    store.inbox.add(ORDERS, [Incoming(f"x{n}", "1", f"x{n}", {"order_id": f"x{n}"}) for n in range(600)])
    store.close()
    assert desk.apply(ORDERS, "--wait", "3").code == 0
    assert desk.states(ORDERS) == {"confirmed": 1, "received": 600}
    store = desk.store()
    with store.transaction() as tx:
        assert tx.execute(select(func.max(lanes.c.fence))).scalar() == 0  # nobody claimed theirs
    store.close()


def test_a_system_that_cannot_be_read_leaves_the_plan_for_later(desk: Desk) -> None:
    desk.place(1)
    desk.plan(ORDERS)
    desk.erp.faults = Faults.parse("503*;path=A_SalesOrder")
    ended = desk.apply(ORDERS)
    assert ended.code == 4
    assert "nothing was sent" in ended.err
    desk.erp.faults = Faults.parse("")
    assert desk.apply(ORDERS).code == 0
    assert desk.arrived() == ["XC-1"]


def test_a_plan_has_its_own_records(desk: Desk) -> None:
    (desk.root / "plan.json").write_text("{}")
    ended = desk.apply(ORDERS, "--limit", "1")
    assert ended.code == 2
    assert "a plan has its records" in ended.err
