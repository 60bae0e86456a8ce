"""flowrun plan on the shipped flows: it foresees what a run does, says why, and touches nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from flowrun.logs import hide
from flowrun.store import Incoming
from flowrun.testing.faults import Faults
from flowrun.values import Secret, decode_json, encode_json
from tests.conftest import connect_shop
from tests.planning.plankit import BACK, BEGIN, ORDERS, STOCK, Desk, check_golden


def actions(plan: dict) -> dict[str, str]:
    return {one["key"]: one["action"] for one in plan["records"]}


def test_orders_as_a_person_reads_them(desk: Desk) -> None:
    desk.place(1)
    desk.place(2, customer_id=77)
    desk.place(3, status="Q")
    desk.erp.orders.append({"SalesOrder": "900", "PurchaseOrderByCustomer": "XC-4"})
    desk.place(4)
    ended = desk.flowrun("plan", ORDERS, "--env", "qa", "--output", "plan.json")
    assert ended.code == 1
    check_golden("orders.txt", ended.out)


def test_stock_as_a_person_reads_it(desk: Desk) -> None:
    number = desk.shop.add_product("AB-1", "Mug", "10.00", quantity=3)
    other = desk.shop.add_product("AB-2", "Cup", "5.00", quantity=9)
    desk.remember("products", "AB-1", str(number))
    desk.remember("products", "AB-2", str(other))
    desk.remember("products", "AB-3", "987654")
    for sku, quantity in (("AB-1", "7"), ("AB-2", "9"), ("AB-3", "1"), ("ZZ-9", "1")):
        desk.erp.add_stock(sku, "1710", quantity)
    ended = desk.flowrun("plan", STOCK, "--env", "qa")
    assert ended.code == 1
    check_golden("stock.txt", ended.out)


def test_deliveries_as_a_person_reads_them(desk: Desk) -> None:
    """X-Cart takes a tracking number and does not show it: that is said, not guessed."""
    desk.place(1)
    desk.flowrun("run", ORDERS, "--env", "qa")
    desk.erp.deliver(desk.erp.orders[0]["SalesOrder"], tracking="1Z999")
    ended = desk.flowrun("plan", BACK, "--env", "qa")
    assert ended.code == 0
    check_golden("deliveries.txt", ended.out)


def test_without_a_store_none_is_made(tmp_path: Path, desk: Desk) -> None:
    for file in (desk.root / ".flowrun").iterdir():
        file.unlink()
    (desk.root / ".flowrun").rmdir()
    desk.place(1, customer_id=None)
    before = desk.files()
    ended = desk.flowrun("plan", ORDERS, "--env", "qa")
    assert "1 create" in ended.out
    assert desk.files() == before
    assert not (desk.root / ".flowrun" / "state-qa.db").exists()


def test_nothing_is_written_anywhere(desk: Desk) -> None:
    desk.place(1)
    desk.flowrun("run", ORDERS, "--env", "qa")
    desk.place(2, 3)
    before, sent = desk.files(), desk.writes()
    assert desk.flowrun("plan", ORDERS, "--env", "qa").code == 0
    assert desk.files() == before
    assert desk.writes() == sent


def test_a_simulated_system_keeps_no_trace_of_a_plan(desk: Desk) -> None:
    before = desk.files()
    assert desk.flowrun("plan", ORDERS, "--env", "dev").code == 0
    assert desk.files() == before


def test_a_plan_is_made_while_a_run_holds_the_store(desk: Desk) -> None:
    desk.place(1)
    store = desk.store()
    try:
        assert actions(desk.plan(ORDERS)) == {"1": "create"}
    finally:
        store.close()


def test_a_run_does_what_was_foreseen(desk: Desk) -> None:
    desk.place(1, 2)
    desk.place(3, customer_id=77)
    desk.place(4, status="Q")
    plan = desk.plan(ORDERS, code=1)
    assert plan["totals"] == {"create": 2, "skip": 1, "reject": 1}
    desk.flowrun("run", ORDERS, "--env", "qa")
    assert desk.states(ORDERS) == {"confirmed": 2, "skipped": 1, "dead": 1}
    again = desk.plan(ORDERS)
    assert (again["totals"], again["known"]) == ({}, 4)


def test_what_waits_in_the_store_is_planned_too(desk: Desk) -> None:
    desk.place(1)
    desk.erp.faults = Faults.parse("503*9;method=POST;path=A_SalesOrder")
    desk.flowrun("run", ORDERS, "--env", "qa", "--wait", "0")
    desk.erp.faults = Faults.parse("")
    desk.place(2)
    assert actions(desk.plan(ORDERS)) == {"1": "create", "2": "create"}


def test_what_arrived_unanswered_is_not_created_again(desk: Desk) -> None:
    desk.place(1)
    desk.erp.faults = Faults.parse("reset_after*1;method=POST;path=A_SalesOrder")
    desk.flowrun("run", ORDERS, "--env", "qa", "--wait", "0")
    desk.erp.faults = Faults.parse("")
    assert desk.arrived() == ["XC-1"]
    (one,) = desk.plan(ORDERS)["records"]
    assert (one["action"], one["why"]) == ("unchanged", "an earlier try arrived: 1")


def test_a_key_that_was_sent_with_another_body_would_be_a_duplicate(desk: Desk) -> None:
    desk.place(1)
    desk.flowrun("run", ORDERS, "--env", "qa")
    desk.shop.orders[1]["items"][0]["name"] = "Another mug"
    desk.shop.touch(1)
    (one,) = desk.plan(ORDERS, code=1)["records"]
    assert one["action"] == "duplicate"
    assert [(c["field"], c["old"], c["new"]) for c in one["changes"]] == [
        ("to_Item[0].SalesOrderItemText", "Mug", "Another mug")
    ]


def test_the_newest_version_of_a_key_is_the_one_that_counts(desk: Desk) -> None:
    desk.place(1)
    record = dict(connect_shop(desk.shop, desk.root).get("orders", {"order_id": 1}))
    later = {**record, "updated_at": "2026-05-05T00:00:00Z"}
    (desk.root / "in.jsonl").write_bytes(b"\n".join(encode_json(one) for one in (record, later, record)))
    plan = desk.plan(ORDERS, "--input", "in.jsonl")
    assert [(one["version"], one["action"]) for one in plan["records"]] == [
        (record["updated_at"], "supersede"),
        ("2026-05-05T00:00:00Z", "create"),
    ]
    assert plan["known"] == 1


def test_what_has_no_version_and_did_not_change_is_known(desk: Desk) -> None:
    number = desk.shop.add_product("AB-1", "Mug", "10.00", quantity=3)
    desk.remember("products", "AB-1", str(number))
    desk.erp.add_stock("AB-1", "1710", "7")
    desk.flowrun("run", STOCK, "--env", "qa")
    again = desk.plan(STOCK)
    assert (again["totals"], again["known"]) == ({}, 1)


def test_behind_a_dead_letter_it_waits(desk: Desk) -> None:
    """A delivery has no version, so the next state of it stands behind the one that failed."""
    store = desk.store()
    store.inbox.add(BACK, [Incoming("80000001", None, "1", {"DeliveryDocument": "80000001"})])
    store.close()
    desk.flowrun("run", BACK, "--env", "qa")
    assert desk.states(BACK) == {"dead": 1}
    (desk.root / "in.jsonl").write_text(
        '{"DeliveryDocument": "80000001", "to_DeliveryDocumentItem": [{"ReferenceSDDocument": "1"}]}'
    )
    (one,) = desk.plan(BACK, "--input", "in.jsonl")["records"]
    assert one["action"] == "wait"
    assert "dlq show s4-deliveries-to-xcart 80000001" in one["why"]


def test_two_changes_of_one_object_are_seen_one_after_the_other(desk: Desk) -> None:
    """The second delivery of an order finds the status that the first one will have set."""
    desk.place(1)
    desk.flowrun("run", ORDERS, "--env", "qa")
    order = desk.erp.orders[0]["SalesOrder"]
    first, second = desk.erp.deliver(order, tracking="A"), desk.erp.deliver(order, tracking="B")
    found = {one["key"]: [c["field"] for c in one["changes"]] for one in desk.plan(BACK)["records"]}
    assert found[first] == ["shipping_status", "tracking_number", "carrier"]
    assert found[second] == ["tracking_number"]


def test_many_objects_are_asked_for_together(desk: Desk) -> None:
    desk.place(*range(1, 61))
    before = len(desk.erp.log)
    assert desk.plan(ORDERS)["totals"] == {"create": 60}
    asked = [one for one in desk.erp.log[before:] if one.path.endswith("A_SalesOrder")]
    assert 1 <= len(asked) <= 4, [one.path for one in asked]


def test_a_guard_is_foreseen(desk: Desk) -> None:
    desk.edit("flows/xcart-s4hana/stock-to-xcart.yaml", "max_changes: 2000", "max_changes: 1")
    for sku in ("AB-1", "AB-2"):
        desk.remember("products", sku, str(desk.shop.add_product(sku, "Mug", "10.00", quantity=3)))
        desk.erp.add_stock(sku, "1710", "7")
    ended = desk.flowrun("plan", STOCK, "--env", "qa", "--output", "plan.json")
    assert ended.code == 3
    assert "guard: 2 changes are more than max_changes: 1; a run stops" in ended.out
    assert desk.writes() == []
    assert desk.apply(STOCK).code == 0
    assert len(desk.writes()) == 2


def test_a_field_says_which_row_of_which_table_it_comes_from(desk: Desk) -> None:
    desk.place(1)
    (one,) = desk.plan(ORDERS)["records"]
    payment = next(c for c in one["changes"] if c["field"] == "PaymentMethod")
    assert payment["place"].startswith("flows/xcart-s4hana/orders-to-s4.yaml:55:")
    assert any("lookup payment: 'CC' → 'D'   (lookups/payment_methods.csv:2)" in step for step in payment["because"])
    sold_to = next(c for c in one["changes"] if c["field"] == "SoldToParty")
    assert any(step.startswith("lookup customers: '42'") for step in sold_to["because"])  # through vars.sold_to


@pytest.mark.parametrize("down", ["source", "target"])
def test_a_system_that_cannot_be_read_leaves_no_plan(desk: Desk, down: str) -> None:
    desk.place(1)
    (desk.shop if down == "source" else desk.erp).faults = Faults.parse("503")
    ended = desk.flowrun("plan", ORDERS, "--env", "qa", "--output", "plan.json")
    assert ended.code == 4
    assert "there is no plan" in ended.err
    assert not (desk.root / "plan.json").exists()


def test_the_file_is_for_nobody_else(desk: Desk) -> None:
    desk.place(1)
    desk.plan(ORDERS)
    assert (desk.root / "plan.json").stat().st_mode & 0o077 == 0


def test_no_secret_is_printed_or_kept(desk: Desk) -> None:
    """Not even one that a record brings along by accident."""
    secret = desk.secrets[0]
    desk.place(1, email=f"{secret}@example.com")
    text = desk.flowrun("plan", ORDERS, "--env", "qa", "--output", "plan.json").out
    json = desk.flowrun("plan", ORDERS, "--env", "qa", "--format", "json").out
    assert "EmailAddress = '***@example.com'" in text
    assert not any(one in text + json for one in desk.secrets)
    assert not any(one in (desk.root / "plan.json").read_text() for one in desk.secrets[1:])


def test_a_secret_that_json_would_write_otherwise(desk: Desk) -> None:
    secret = 'pass"word'
    hide(Secret(secret))
    desk.place(1, names=(secret, "Lee"))
    out = desk.flowrun("plan", ORDERS, "--env", "qa", "--format", "json").out
    assert '"new": "*** Lee"' in out
    assert "word" not in out


@pytest.mark.parametrize("seed", range(4))
def test_whatever_came_in_a_plan_and_the_run_after_it_agree(desk: Desk, seed: int) -> None:
    """Some orders were delivered, some changed, some wait for a target that was down, some are new."""
    chance = random.Random(seed)
    desk.erp.add_customer("17100099")  # what the target itself would refuse, no plan foresees

    def place(ids: range) -> None:
        for number in ids:
            desk.place(number, status=chance.choice("PPPQ"), customer_id=chance.choice([42, 42, 42, 77, None]))

    place(range(1, 9))
    desk.erp.faults = Faults.parse(f"reset_after:0.3,503:0.3;method=POST;path=A_SalesOrder;seed={seed}")
    desk.flowrun("run", ORDERS, "--env", "qa", "--wait", "0", "--quiet")
    desk.erp.faults = Faults.parse("")
    for number in chance.sample(range(1, 9), 4):
        desk.shop.touch(number, customer_id=chance.choice([42, 77]))
    place(range(9, 14))
    ended = desk.flowrun("plan", ORDERS, "--env", "qa", "--format", "json")
    foreseen = decode_json(ended.out)["records"]
    sent = len(desk.writes())
    desk.flowrun("run", ORDERS, "--env", "qa", "--quiet")
    store = desk.store()
    states = {(row.key, row.version): row.state for row in store.records(flow=ORDERS)}
    store.close()
    ends = {
        "create": "confirmed", "unchanged": "confirmed", "skip": "skipped", "reject": "dead", "duplicate": "dead",
        "supersede": "superseded",
    }  # fmt: skip
    assert {(one["key"], one["version"]): ends[one["action"]] for one in foreseen} == {
        (one["key"], one["version"]): states[one["key"], one["version"]] for one in foreseen
    }
    assert len(desk.writes()) - sent == sum(one["action"] == "create" for one in foreseen)


def test_every_word_of_the_json_is_documented(desk: Desk) -> None:
    desk.place(1)
    desk.place(2, customer_id=77)
    desk.place(3, status="Q")
    plan = desk.plan(ORDERS, code=1)
    words = {*plan, *plan["target"], *plan["totals"]}
    for record in plan["records"]:
        words |= {*record, *(name for change in record.get("changes", ()) for name in change)}
    page = (Path(__file__).parents[2] / "docs" / "planning.md").read_text()
    missing = sorted(word for word in words if f"`{word}`" not in page)
    assert not missing, f"docs/planning.md does not name {missing}"
    assert plan["made_at"] > BEGIN.isoformat()
