"""flowrun diff on the shipped flows: what an edit changes, how often, and the cause with its places."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowrun.values import encode_json
from tests.conftest import connect_shop
from tests.planning.plankit import ORDERS, STOCK, Desk, check_golden

FLOW = "flows/xcart-s4hana/orders-to-s4.yaml"


@pytest.fixture
def recorded(desk: Desk) -> Desk:
    """Four orders came in: two mapped, one unpaid, one of an unknown customer; the project stands in git."""
    desk.git("init", "-q")
    desk.commit()
    desk.place(1, 2)
    desk.place(3, status="Q")
    desk.place(4, customer_id=77)
    desk.flowrun("run", ORDERS, "--env", "qa", "--quiet")
    return desk


def differences(desk: Desk, *words: str, flow: str = ORDERS, code: int = 1) -> list[dict[str, Any]]:
    ended = desk.flowrun("diff", flow, "--env", "qa", "--against", "HEAD", "--format", "json", *words)
    assert ended.code == code, ended.out + ended.err
    found: list[dict[str, Any]] = json.loads(ended.out)["differences"]
    return found


def test_nothing_changed(recorded: Desk) -> None:
    ended = recorded.flowrun("diff", ORDERS, "--env", "qa", "--against", "HEAD")
    assert (ended.code, ended.out) == (0, "4 records against HEAD: 0 differ, 4 the same\n")


def test_moved_and_commented_is_no_difference(recorded: Desk) -> None:
    recorded.edit(FLOW, "rules:\n", "# a remark\n\nrules:\n  nobody: order.total_amount > 7\n")
    recorded.edit("lookups/payment_methods.csv", "CC,D", "XX,Y,z\nCC,D")
    assert differences(recorded, code=0) == []


def test_as_a_person_reads_it(recorded: Desk) -> None:
    path = recorded.root / FLOW
    path.write_text(path.read_text().partition("\ntests:")[0] + "\n")  # they would name the fields that go
    recorded.edit(FLOW, "big_order: order.total_amount > 1000", "big_order: order.total_amount > 20")
    recorded.edit(FLOW, "order.status in ['P', 'A']", "order.status in ['P', 'A', 'Q']")
    recorded.edit(FLOW, "as: [trim, truncate 40] }\n              Street", "as: [trim, upper] }\n              Street")
    recorded.edit(FLOW, '  DistributionChannel: { value: "10" }\n', "")
    recorded.edit(FLOW, "  OrganizationDivision", '  DistributionChannel: { value: "20" }\n  OrganizationDivision')
    recorded.edit(FLOW, "  CustomerPaymentTerms: { from: order.payment_terms, optional: true }\n", "")
    recorded.edit(FLOW, "  PaymentMethod:", '  CustomerGroup: { value: "01" }\n  PaymentMethod:')
    recorded.edit("lookups/payment_methods.csv", "CC,D", "CC,E")
    recorded.edit("flowrun.yaml", 'qa:\n    values: { sales_org: "1710"', 'qa:\n    values: { sales_org: "1711"')
    ended = recorded.flowrun("diff", ORDERS, "--env", "qa", "--against", "HEAD")
    assert (ended.code, ended.err) == (1, "")
    check_golden("diff.txt", ended.out)


@pytest.mark.parametrize(
    ("file", "old", "new", "field", "cause"),
    [
        (FLOW, "big_order: order.total_amount > 1000", "big_order: order.total_amount > 20", "SalesOrderType",
         {"kind": "rule", "what": "big_order", "old_place": f"{FLOW}:23", "new_place": f"{FLOW}:23"}),
        (FLOW, "- { value: OR }", "- { value: OX }", "SalesOrderType",
         {"kind": "mapping", "what": "SalesOrderType", "old": "- { value: OR }", "new": "- { value: OX }",
          "old_place": f"{FLOW}:47", "new_place": f"{FLOW}:47"}),
        ("lookups/countries.csv", "US,USA,840,US,", "US,USA,840,UX,", "to_Partner[].to_Address[].Country",
         {"kind": "lookup row", "what": "countries 'us'", "old": "'US'", "new": "'UX'"}),
        (FLOW, "ship_country: { from: order.shipping_address.country,", "ship_country: { from: order.billing.state,",
         "to_Partner[].to_Address[].Country", {"kind": "variable", "what": "vars.ship_country"}),
        (FLOW, "default: PC }", "default: EA }", "to_Item[].RequestedQuantityUnit",
         {"kind": "mapping", "what": "to_Item[].RequestedQuantityUnit"}),
        (FLOW, "as: decimal 3 }", "as: decimal 1 }", "to_Item[].RequestedQuantity", {"kind": "mapping"}),
        (FLOW, "    - when: order.shipping.cost > 0", "    - when: order.shipping.cost > 99",
         "to_PricingElement[].ConditionType", {"kind": "mapping", "what": "to_PricingElement",
                                               "old": "- when: order.shipping.cost > 0"}),
        (FLOW, 'key: "xcart-{{', 'key: "shop-{{', "idempotency.key", {"kind": "mapping", "new_place": f"{FLOW}:113"}),
        (FLOW, "  key: order.order_id", "  key: order.order_number", "source.key", {"kind": "mapping"}),
        (FLOW, "  object: A_SalesOrder\n", "  object: SalesOrder\n", "target.object", {}),
    ],
)  # fmt: skip
def test_each_cause(recorded: Desk, file: str, old: str, new: str, field: str, cause: dict[str, str]) -> None:
    """One edit, and the fields it changes name it as their cause."""
    recorded.edit(file, old, new)
    ended = recorded.flowrun("diff", ORDERS, "--env", "qa", "--against", "HEAD", "--format", "json")
    if field == "target.object":  # V4 has other field names: no valid flow, which is said before anything is compared
        assert ended.code == 1
        assert "error[FR200]" in ended.err
        return
    assert ended.code == 1, ended.out + ended.err
    found = {one["field"]: one for one in json.loads(ended.out)["differences"]}
    assert field in found, found
    assert {name: found[field]["cause"].get(name) for name in cause} == cause


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("order.status in ['P', 'A']", "order.status in ['P', 'A', 'Q']", "outcome: skipped (only_when) → mapped"),
        ("order.status in ['P', 'A']", "order.status == 'A'", "outcome: mapped → skipped (only_when)"),
        ("xref: customers, on_miss: error", "xref: customers, on_miss: skip",
         "outcome: rejected (bad_data vars.sold_to) → skipped (customers)"),
        ("length > 0", "length > 1", "outcome: mapped → rejected (bad_data require)"),
        ("from: order.date,", "from: order.notes,", "outcome: mapped → rejected (bad_data CustomerPurchaseOrderDate)"),
    ],
)  # fmt: skip
def test_outcomes(recorded: Desk, old: str, new: str, field: str) -> None:
    recorded.edit(FLOW, old, new)
    found = {one["field"]: one for one in differences(recorded)}
    assert field in found, found
    assert new in found[field]["cause"]["new"], found[field]
    assert old in found[field]["cause"]["old"]


def test_a_row_that_is_gone(recorded: Desk) -> None:
    recorded.edit("lookups/payment_methods.csv", "CC,D", "ZZ,D")
    (one,) = differences(recorded)
    assert one["cause"] == {
        "kind": "lookup row", "what": "payment 'CC'", "old": "'D'", "new": "no row, on_miss: use",
        "old_place": "lookups/payment_methods.csv:2",
    }  # fmt: skip
    assert one["records"] == 2


def test_a_rule_that_still_answers_the_same_is_not_the_cause(recorded: Desk) -> None:
    first = "{ first: [{ when: guest, value: Z }, { from: order.payment_method, lookup: payment }] }"
    recorded.edit(FLOW, "PaymentMethod: { from: order.payment_method, lookup: payment }", f"PaymentMethod: {first}")
    recorded.commit()
    recorded.edit(
        FLOW, "guest: order.customer_id is missing", "guest: order.customer_id is missing and order.email != 'x'"
    )
    recorded.edit("lookups/payment_methods.csv", "CC,D", "CC,E")
    (one,) = differences(recorded)
    assert (one["field"], one["cause"]["kind"]) == ("PaymentMethod", "lookup row")


def test_a_fragment_comes_with_its_revision(recorded: Desk) -> None:
    fragment = recorded.root / "flows" / "freight.yaml"
    fragment.write_text(
        "flowrun: 1\nfragment: freight\nneeds: [cost, money]\nmap:\n  ConditionType: { value: HD00 }\n"
        "  ConditionRateValue: { from: cost, as: decimal 2 half_up }\n  ConditionCurrency: { from: money, as: upper }\n"
    )
    text = (recorded.root / FLOW).read_text()
    start, end = (
        text.index("      map:\n        ConditionType: { value: HD00 }"),
        text.index("    - when: order.discounts"),
    )
    use = "      use: freight\n      with: { cost: order.shipping.cost, money: order.currency }\n"
    (recorded.root / FLOW).write_text(text[:start] + use + text[end:])
    checked = recorded.flowrun("validate", FLOW)
    assert checked.code == 0, checked.out
    recorded.git("add", "flows")
    recorded.git("commit", "-q", "-m", "a fragment")
    assert differences(recorded, code=0) == []
    fragment.write_text(fragment.read_text().replace("value: HD00", "value: HD01"))
    (one,) = differences(recorded)
    assert (one["field"], one["records"]) == ("to_PricingElement[].ConditionType", 2)
    assert one["cause"]["new"] == "ConditionType: { value: HD01 }"
    assert one["cause"]["new_place"] == "flows/freight.yaml:5"


def test_against_another_file(recorded: Desk) -> None:
    other = recorded.root / "new.yaml"
    other.write_text((recorded.root / FLOW).read_text().replace('Channel: { value: "10" }', 'Channel: { value: "20" }'))
    ended = recorded.flowrun("diff", ORDERS, "--env", "qa", "--against", "new.yaml")
    assert ended.code == 1
    assert "new.yaml:49" in ended.out
    assert "'20' → '10'" in ended.out


def test_records_from_a_file_and_groups(recorded: Desk) -> None:
    """As in a pipeline that has no store; a grouped flow gets whole groups."""
    rows = [
        {"Material": material, "Plant": "1710", "MatlWrhsStkQtyInMatlBaseUnit": "7.0"} for material in ("AB-1", "AB-1")
    ]
    (recorded.root / "in.jsonl").write_bytes(b"\n".join(map(encode_json, rows)))
    recorded.remember("products", "AB-1", "9001")
    recorded.edit("flows/xcart-s4hana/stock-to-xcart.yaml", "vars.west + vars.east - vars.reserved", "vars.west")
    (one,) = differences(recorded, "--input", "in.jsonl", flow=STOCK)
    assert one["example"] == {"key": "AB-1", "old": 12, "new": 14}


def test_only_the_last_ones(recorded: Desk) -> None:
    recorded.edit(FLOW, "- { value: OR }", "- { value: OX }")
    assert [one["records"] for one in differences(recorded)] == [2]
    assert differences(recorded, "--last", "1", code=0) == []


def test_neither_the_working_tree_nor_the_systems_are_touched(recorded: Desk) -> None:
    recorded.edit(FLOW, "- { value: OR }", "- { value: OX }")
    before, sent = recorded.files(), recorded.writes()
    differences(recorded)
    assert recorded.files() == before
    assert recorded.writes() == sent


@pytest.mark.parametrize(
    ("against", "said"),
    [
        ("nowhere", "there is neither a file nor a git revision 'nowhere'"),
        ("--output=x", "'--output=x' is no git revision"),
        ("", "'' is no git revision"),
    ],
)
def test_what_is_no_revision(recorded: Desk, against: str, said: str) -> None:
    ended = recorded.flowrun("diff", ORDERS, "--env", "qa", f"--against={against}")
    assert ended.code == 2
    assert said in ended.err


def test_a_revision_without_this_flow_or_with_a_broken_one(recorded: Desk) -> None:
    recorded.edit(FLOW, "rules:\n", "rulez:\n")
    recorded.commit()
    recorded.edit(FLOW, "rulez:\n", "rules:\n")
    ended = recorded.flowrun("diff", ORDERS, "--env", "qa", "--against", "HEAD")
    assert ended.code == 2
    assert f"HEAD is no valid version of {ORDERS}: {FLOW}:" in ended.err
    recorded.git("rm", "-q", "--cached", FLOW)
    recorded.git("commit", "-q", "-m", "gone")
    ended = recorded.flowrun("diff", ORDERS, "--env", "qa", "--against", "HEAD")
    assert ended.code == 2
    assert f"HEAD: no flow is named '{ORDERS}'" in ended.err


def test_without_records_there_is_nothing_to_compare(recorded: Desk) -> None:
    ended = recorded.flowrun("diff", STOCK, "--env", "qa", "--against", "HEAD")
    assert ended.code == 2
    assert "give records with --input FILE" in ended.err


def test_outside_of_git(desk: Desk) -> None:
    desk.place(1)
    desk.flowrun("run", ORDERS, "--env", "qa", "--quiet")
    ended = desk.flowrun("diff", ORDERS, "--env", "qa", "--against", "HEAD")
    assert ended.code == 2
    assert "is this project kept in git?" in ended.err


def test_no_secret_is_printed(recorded: Desk) -> None:
    secret = recorded.secrets[0]
    recorded.shop.orders[1]["email"] = f"{secret}@example.com"
    source = connect_shop(recorded.shop, recorded.root)
    (recorded.root / "in.jsonl").write_bytes(encode_json(source.get("orders", {"order_id": 1})))
    source.http.close()
    recorded.edit(
        FLOW, "EmailAddress: { from: order.email, optional: true }", "EmailAddress: { from: order.email, as: upper }"
    )
    ended = recorded.flowrun("diff", ORDERS, "--env", "qa", "--against", "HEAD", "--input", "in.jsonl")
    assert "EmailAddress" in ended.out
    assert secret not in ended.out + ended.err
