"""flowrun trace: an order and its delivery as one story, corrections and their authors included."""

from __future__ import annotations

import getpass
import json
import re
from typing import Any

import pytest

from flowrun.store import Incoming
from flowrun.testing.faults import Faults
from tests.planning.plankit import BACK, ORDERS, Desk, check_golden


def still(text: str) -> str:
    """Without what differs from day to day."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", text)
    text = re.sub(r"flow [0-9a-f]{16}", "flow HASH", text)
    return text.replace(f"by {getpass.getuser()}", "by SOMEBODY")


def story(desk: Desk, *words: str) -> list[dict[str, Any]]:
    ended = desk.flowrun("trace", *words, "--env", "qa", "--format", "json")
    assert ended.code == 0, ended.err
    found: list[dict[str, Any]] = json.loads(ended.out)
    return found


def said(life: dict[str, Any]) -> list[str]:
    return [event["event"] for event in life["events"]]


@pytest.fixture
def shipped(desk: Desk) -> Desk:
    """Order 1003 was refused, corrected, replayed, shipped; order 7 has nothing to do with it."""
    desk.place(7)
    desk.place(1003, customer_id=77)
    desk.flowrun("run", ORDERS, "--env", "qa", "--quiet")
    desk.flowrun("dlq", "edit", ORDERS, "1003", "--set", "customer_id=42", "--env", "qa")
    desk.flowrun("dlq", "replay", ORDERS, "1003", "--env", "qa")
    order = desk.erp.orders[-1]
    assert order["PurchaseOrderByCustomer"] == "XC-1003"
    desk.erp.deliver(order["SalesOrder"], tracking="1Z999")
    desk.flowrun("run", BACK, "--env", "qa")
    return desk


def test_as_a_person_reads_it(shipped: Desk) -> None:
    ended = shipped.flowrun("trace", "1003", "--env", "qa")
    assert ended.code == 0
    check_golden("trace.txt", still(ended.out))


@pytest.mark.parametrize("key", ["1003", "80000000", "xcart-1003", "ship-80000000"])
def test_from_whichever_end_the_story_is_the_same(shipped: Desk, key: str) -> None:
    assert [(life["flow"], life["key"]) for life in story(shipped, key)] == [(ORDERS, "1003"), (BACK, "80000000")]


def test_a_record_says_how_it_was_found(shipped: Desk) -> None:
    order, delivery = story(shipped, "1003")
    assert (order["link"], delivery["link"]) == ("", "receipt 1003")
    order, delivery = story(shipped, "80000000")
    assert (order["link"], delivery["link"]) == (f"key 1003 (receipt of {BACK} 80000000)", "")


def test_what_has_not_been_delivered_is_found_by_cross_reference_and_lane(desk: Desk) -> None:
    desk.place(7, 1003)
    desk.flowrun("run", ORDERS, "--env", "qa", "--quiet")
    sales_order = desk.erp.orders[-1]["SalesOrder"]
    desk.erp.deliver(sales_order, tracking="1Z999")
    desk.shop.faults = Faults.parse("503*;path=status")
    desk.flowrun("run", BACK, "--env", "qa", "--wait", "0")
    (_, delivery) = story(desk, "1003")
    assert delivery["state"] == "received"
    assert delivery["link"].startswith(f"lane {sales_order} (")
    assert "1003" in delivery["link"]


def test_an_imported_cross_reference_is_followed(desk: Desk) -> None:
    """Order 555 was delivered before flowrun came: no record and no receipt name it, only the table."""
    desk.remember("orders", "555", "4711")
    store = desk.store()
    store.inbox.add(BACK, [Incoming("80000001", None, "4711", {"DeliveryDocument": "80000001"})])
    store.close()
    (delivery,) = story(desk, "555")
    assert (delivery["key"], delivery["link"]) == ("80000001", "lane 4711 (cross-reference orders: 555 ↔ 4711)")


def test_with_its_flow_a_key_is_that_flows_alone(shipped: Desk) -> None:
    """A delivery that happens to have the number of an order is another thing."""
    store = shipped.store()
    store.inbox.add(BACK, [Incoming("1003", None, "999", {"DeliveryDocument": "1003"})])
    store.close()
    assert (BACK, "1003") in [(life["flow"], life["key"]) for life in story(shipped, "1003")]
    keys = [(life["flow"], life["key"]) for life in story(shipped, "1003", "--flow", ORDERS)]
    assert keys == [(ORDERS, "1003"), (BACK, "80000000")]


def test_retries_and_why(desk: Desk) -> None:
    desk.place(1)
    desk.erp.faults = Faults.parse("503*;method=POST;path=A_SalesOrder")
    desk.flowrun("run", ORDERS, "--env", "qa", "--wait", "0")
    (life,) = story(desk, "1")
    retried = life["events"][-1]
    assert retried["event"] == "retried"
    assert retried["words"].startswith("network: ")
    assert "try 1, again after" in retried["words"]
    desk.erp.faults = Faults.parse("")
    desk.flowrun("run", ORDERS, "--env", "qa")
    (life,) = story(desk, "1")
    assert said(life) == ["received", "retried", "mapped", "answered"]


def test_a_lost_answer_is_in_doubt(desk: Desk) -> None:
    desk.place(1)
    desk.erp.faults = Faults.parse("reset_after*1;method=POST;path=A_SalesOrder")
    desk.flowrun("run", ORDERS, "--env", "qa", "--wait", "0")
    (life,) = story(desk, "1")
    assert "in doubt" in said(life)
    desk.erp.faults = Faults.parse("")
    desk.flowrun("run", ORDERS, "--env", "qa")
    (life,) = story(desk, "1")
    assert life["state"] == "confirmed"
    assert life["events"][-1]["words"].startswith("found at the target: 1")


def test_superseded_skipped_failed_and_discarded(desk: Desk) -> None:
    desk.place(1, status="Q")
    desk.place(2, customer_id=77)
    desk.flowrun("run", ORDERS, "--env", "qa", "--quiet")
    (skipped,) = story(desk, "1", "--flow", ORDERS)
    assert (said(skipped)[-1], skipped["events"][-1]["words"]) == ("skipped", "only_when")
    (dead,) = story(desk, "2", "--flow", ORDERS)
    assert said(dead)[-1] == "failed"
    assert "bad_data: vars.sold_to: customers has no row for '77'   (flows/" in dead["events"][-1]["words"]
    desk.flowrun("dlq", "discard", ORDERS, "2", "--reason", "a test order", "--env", "qa")
    (gone,) = story(desk, "2", "--flow", ORDERS)
    assert (gone["state"], said(gone)[-1]) == ("discarded", "discarded")
    assert gone["events"][-1]["words"] == "a test order"
    assert gone["events"][-1]["who"] == getpass.getuser()


def test_versions_are_told_apart(desk: Desk) -> None:
    desk.place(1, customer_id=77)
    desk.flowrun("run", ORDERS, "--env", "qa", "--quiet")
    desk.shop.touch(1, customer_id=42)
    desk.flowrun("run", ORDERS, "--env", "qa", "--quiet")
    old, new = story(desk, "1", "--flow", ORDERS)
    assert old["state"] == "superseded"
    assert old["events"][-1]["words"] == f"version {new['version']} was confirmed"
    assert new["state"] == "confirmed"


def test_a_flow_that_has_changed_does_not_tell_what_it_did_not_do(shipped: Desk) -> None:
    shipped.edit("flows/xcart-s4hana/orders-to-s4.yaml", "value: ZBIG", "value: ZBIX")
    (order, _) = story(shipped, "1003")
    mapped = next(event["words"] for event in order["events"] if event["event"] == "mapped")
    assert "the flow has changed since" in mapped
    assert "lookup" not in mapped


def test_nothing_is_written(shipped: Desk) -> None:
    before = shipped.files()
    story(shipped, "1003")
    assert shipped.files() == before


def test_an_unknown_key_and_no_store(desk: Desk) -> None:
    ended = desk.flowrun("trace", "nobody", "--env", "qa")
    assert ended.code == 2
    assert "no record has to do with 'nobody'" in ended.err
    ended = desk.flowrun("trace", "1", "--env", "prod")
    assert ended.code == 2
    assert "there is no store" in ended.err
