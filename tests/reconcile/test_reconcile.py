"""Case 40: delete 3, alter 2, add 1 directly in the target. Exactly six are said; a repair mends what it can, once."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import update

from flowrun.store import Incoming
from flowrun.store import schema as t
from flowrun.store.verifying import verify
from flowrun.testing.faults import Faults
from tests.planning.plankit import ORDERS, STOCK
from tests.reconcile.desk import FLOW, LEDGER, Desk, kinds

OWNS = 'cursor: order.updated_at, owns: { DistributionChannel: "10" }, totals: { TotalNetAmount: order.total_amount }, per: { TransactionCurrency: order.currency }'
SIX = sorted(
    [("missing", "1"), ("missing", "2"), ("missing", "3"), ("different", "4"), ("different", "5"), ("extra", "99")]
)


def tampered(desk: Desk) -> None:
    """Eight orders in the ledger; then somebody deletes 3, alters 2 and adds 1 there."""
    desk.use_ledger()
    desk.orders({number: f"{number}5.10" for number in range(1, 9)})
    desk.run(LEDGER)
    assert sorted(desk.entries) == [str(n) for n in range(1, 9)]
    for number in ("1", "2", "3"):
        del desk.entries[number]
    desk.entries["4"]["total"] = "45.11"
    desk.entries["5"]["reference"] = "XC-five"
    desk.ledger.add("entries", id="99", reference="by hand", total="1.00", currency="USD")


def test_exactly_six_are_said_and_nothing_is_written(desk: Desk) -> None:
    tampered(desk)
    before, files = desk.writes(), desk.files() if not desk.place_ else {}
    ended = desk.reconcile(LEDGER)
    assert ended.code == 1
    head, *rest = ended.out.splitlines()
    assert head == (
        "8 orders, 400.80 USD in xcart; 6 orders, 326.51 USD in ledger; missing: 1, 2, 3; different: 4, 5; extra: 99"
    )
    assert rest[:7] == [
        "  missing  1  it was delivered before",
        "  missing  2  it was delivered before",
        "  missing  3  it was delivered before",
        "  different  4",
        "    total: '45.11' → 45.10",
        "  different  5",
        "    reference: 'XC-five' → 'XC-5'",
    ]
    report = desk.report(LEDGER)
    assert kinds(report) == SIX
    assert report["counts"] == {"missing": 3, "different": 2, "extra": 1, "double": 0, "rejected": 0}
    assert report["repairable"] == 5
    dry = desk.reconcile(LEDGER, "--repair", "--dry-run")
    assert (dry.code, dry.out.splitlines()[-1]) == (1, "dry run: 5 would be repaired; nothing was written")
    assert desk.writes() == before
    if not desk.place_:
        assert desk.files() == files


def test_a_repair_sends_what_differs_once_and_leaves_the_rest(desk: Desk) -> None:
    tampered(desk)
    before = len(desk.writes())
    ended = desk.reconcile(LEDGER, "--repair")
    assert "5 confirmed; 5 sent" in ended.out, ended.out + ended.err
    assert ended.code == 1  # the extra one is left
    assert sorted(desk.writes()[before:]) == [f"PUT /entries/{n}" for n in range(1, 6)]
    assert (str(desk.entries["4"]["total"]), desk.entries["5"]["reference"]) == ("45.10", "XC-5")
    assert desk.entries["99"]["reference"] == "by hand"
    assert kinds(desk.report(LEDGER)) == [("extra", "99")]
    again = desk.reconcile(LEDGER, "--repair")
    assert len(desk.writes()) == before + 5, again.out
    del desk.entries["99"]
    last = desk.reconcile(LEDGER)
    assert (last.code, last.out.splitlines()[0]) == (
        0, "8 orders, 400.80 USD in xcart; 8 orders, 400.80 USD in ledger; no differences",
    )  # fmt: skip
    store = desk.store()
    assert verify(store.database) == []
    store.close()
    assert desk.states(LEDGER) == {"confirmed": 13}


def test_cut_off_while_it_repairs_and_done_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after some of it was put back, after it was sent, and before it was noted: each object stands once."""
    from flowrun.store.outcomes import Outcomes

    tampered(desk)
    before = len(desk.writes())
    real, calls = Outcomes.advance, [0]

    def dies(self: Any, held: Any, endings: Any, *args: Any, **more: Any) -> Any:
        if endings and not calls[0]:
            calls[0] += 1
            raise KeyboardInterrupt  # the answers are here, and nothing is noted of them
        return real(self, held, endings, *args, **more)

    with monkeypatch.context() as cut:
        cut.setattr(Outcomes, "advance", dies)
        assert desk.reconcile(LEDGER, "--repair").code == 130
    assert calls[0]
    store = desk.store()
    with store.transaction() as tx:  # the lease of who died ends
        tx.execute(update(t.lanes).values(due=0.0))
    store.close()
    assert len(desk.writes()) > before
    report = desk.report(LEDGER)
    assert report["counts"]["extra"] == 1
    assert report["counts"]["missing"] + report["counts"]["different"] + report["waiting"] <= 5
    ended = desk.reconcile(LEDGER, "--repair")
    assert "5 confirmed" in ended.out, ended.out + ended.err
    assert kinds(desk.report(LEDGER)) == [("extra", "99")]
    assert desk.states(LEDGER) == {"confirmed": 13}  # no sixth record for what was put back before


def test_what_was_created_and_is_gone_is_created_again_after_asking(desk: Desk) -> None:
    """A create flow: its key is known as done, and all the same the order is made anew, since it is not there."""
    desk.edit("flows/xcart-s4hana/orders-to-s4.yaml", "cursor: order.updated_at", OWNS)
    desk.orders(dict.fromkeys(range(1, 7), "25.00"))
    desk.run(ORDERS)
    orders = desk.erp.orders
    for name in ("XC-1", "XC-2"):
        orders.remove(next(one for one in orders if one["PurchaseOrderByCustomer"] == name))
    desk.erp.change_order(orders[0]["SalesOrder"], SalesOrganization="1010")
    report = desk.report(ORDERS)
    assert kinds(report) == [("different", "3"), ("missing", "1"), ("missing", "2")]
    assert report["totals"]["source"] == {
        "connection": "xcart", "count": 6, "sums": [{"per": ["USD"], "sums": {"TotalNetAmount": Decimal("150.00")}}],
    }  # fmt: skip
    ended = desk.reconcile(ORDERS, "--repair")
    assert (ended.code, "2 confirmed, 2 warnings; 2 sent" in ended.out) == (1, True), ended.out + ended.err
    assert "'create' sends no changes" in ended.out
    assert desk.arrived() == [f"XC-{n}" for n in range(1, 7)]
    assert kinds(desk.report(ORDERS)) == [("different", "3")]
    desk.reconcile(ORDERS, "--repair")
    assert desk.arrived() == [f"XC-{n}" for n in range(1, 7)]
    store = desk.store()
    assert verify(store.database) == []
    store.close()


def test_the_line_of_totals(plain: Desk) -> None:
    plain.remember("customers", "42", "17100001")
    plain.edit("flows/xcart-s4hana/orders-to-s4.yaml", "cursor: order.updated_at", OWNS)
    plain.orders(dict.fromkeys(range(1003, 1043), "300.00") | {1043: "275.40", 1044: "35.00"})
    plain.run(ORDERS)
    gone = next(one for one in plain.erp.orders if one["PurchaseOrderByCustomer"] == "XC-1044")
    plain.erp.orders.remove(gone)
    ended = plain.reconcile(ORDERS)
    assert ended.out.splitlines()[0] == (
        "42 orders, 12,310.40 USD in xcart; 41 orders, 12,275.40 USD in s4; missing: 1044"
    )


def test_an_order_that_stands_twice_and_one_that_cannot_be_mapped(plain: Desk) -> None:
    plain.use_ledger()
    plain.orders({1: "10.00", 2: "20.00"})
    plain.run(LEDGER)
    plain.orders({3: "30.00"}, email=None)
    plain.ledger.rows["entries"]["twin"] = {**plain.entries["2"], "reference": "again"}
    report = plain.report(LEDGER)
    assert kinds(report) == [("double", "2"), ("rejected", "3")]
    assert "has no e-mail" in next(one["why"] for one in report["differences"] if one["kind"] == "rejected")


def test_what_the_flow_skips_by_now_is_no_extra(plain: Desk) -> None:
    """Delivered while it was open; declined since. It was never deleted at the target, and nothing is wrong."""
    plain.use_ledger()
    plain.orders({1: "10.00", 2: "20.00"})
    plain.run(LEDGER)
    status = next(s for s in (plain.shop.orders[2]["payment_status"],))
    plain.shop.touch(2, payment_status={**status, "code": "D"})
    report = plain.report(LEDGER)
    assert (kinds(report), report["past"], report["skipped"]) == ([], 1, 1)


def test_without_owns_only_what_the_source_has_is_looked_at(plain: Desk) -> None:
    plain.use_ledger(FLOW.replace("    owns: all\n", ""))
    plain.orders({1: "10.00", 2: "20.00", 3: "30.00"})
    plain.run(LEDGER)
    plain.ledger.add("entries", id="99", reference="by hand", total="1.00", currency="USD")
    del plain.entries["2"]
    report = plain.report(LEDGER)
    assert kinds(report) == [("missing", "2")]
    assert any("extra objects at the target were not looked for" in note for note in report["notes"])


def test_only_since(plain: Desk) -> None:
    plain.use_ledger()
    plain.place(1, 2, 3)
    plain.run(LEDGER)
    del plain.entries["1"], plain.entries["3"]
    since = plain.shop.orders[3]["update_date"].replace("+0000", "Z")
    report = plain.report(LEDGER, "--since", since)
    assert ("missing", "3") in kinds(report)
    assert plain.reconcile(LEDGER, "--since", since, "--full").code == 2


def test_numbers_by_value_and_moments_by_moment(plain: Desk) -> None:
    plain.use_ledger()
    plain.orders({1: "10.00"})
    plain.run(LEDGER)
    entry = plain.entries["1"]
    entry["total"], entry["placed"] = "10.000", entry["placed"].replace("Z", "+00:00")
    assert plain.reconcile(LEDGER).code == 0
    entry["reference"] = "xc-1"
    assert plain.reconcile(LEDGER).code == 1


def test_the_guard_stops_a_repair_before_anything_is_put_back(desk: Desk) -> None:
    desk.use_ledger(FLOW.replace("  only_changes: true\n", "  only_changes: true\n  guard: { max_changes: 2 }\n"))
    desk.orders({1: "10.00", 2: "20.00"})
    desk.run(LEDGER)
    desk.orders({3: "30.00"})
    desk.run(LEDGER)
    desk.entries.clear()
    before = desk.writes()
    for words in (("--repair",), ("--repair", "--dry-run")):
        ended = desk.reconcile(LEDGER, *words)
        assert (ended.code, "3 changes are more than max_changes: 2" in ended.err) == (3, True)
    assert desk.writes() == before
    assert desk.states(LEDGER) == {"confirmed": 3}
    ended = desk.reconcile(LEDGER, "--repair", "--override-guard")
    assert (ended.code, sorted(desk.entries)) == (0, ["1", "2", "3"]), ended.out + ended.err


def test_a_side_that_cannot_be_read_gives_no_report(plain: Desk) -> None:
    plain.use_ledger()
    plain.orders({1: "10.00"})
    plain.run(LEDGER)
    plain.ledger.faults = Faults.parse("503")
    ended = plain.reconcile(LEDGER)
    assert (ended.code, ended.out) == (4, ""), ended.out
    assert "not everything could be read" in ended.err


def test_stock_is_held_against_what_the_shop_shows(desk: Desk) -> None:
    """Inventory: two plants of S/4HANA are one quantity of the shop; its sum is a control total of itself."""
    numbers = {}
    for sku, west, east in (("AB-1", "7", "5"), ("AB-2", "9", "0"), ("AB-3", "4", "4")):
        numbers[sku] = desk.shop.add_product(sku, sku, "1.00", 0)
        desk.remember("products", sku, str(numbers[sku]))
        desk.erp.add_stock(sku, "1710", west)
        desk.erp.add_stock(sku, "1720", east)
    desk.run(STOCK)
    assert desk.reconcile(STOCK).code == 0
    held = {sku: desk.shop.products[number]["amount"] for sku, number in numbers.items()}
    desk.shop.products[numbers["AB-1"]]["amount"] = 0  # sold out by hand
    desk.shop.products[numbers["AB-3"]]["name"] = "renamed"  # none of this flow's business
    total = sum(held.values())
    ended = desk.reconcile(STOCK)
    assert ended.out.splitlines()[0] == (
        f"3 products, {total} in s4; 3 products, {total - held['AB-1']} in xcart; different: AB-1"
    )
    ended = desk.reconcile(STOCK, "--repair")
    assert ended.code == 0, ended.out + ended.err
    assert {sku: desk.shop.products[number]["amount"] for sku, number in numbers.items()} == held
    before = desk.writes()
    assert desk.reconcile(STOCK, "--repair").code == 0
    assert desk.writes() == before


def test_sums_by_what_they_are_split_by(plain: Desk) -> None:
    """Settlements against the books: per account, whatever single entries say."""
    plain.use_ledger()
    plain.orders({1: "10.00", 2: "20.00"})
    plain.orders({3: "30.00"}, currency="EUR")
    plain.run(LEDGER)
    plain.entries["3"]["currency"] = "USD"
    report = plain.report(LEDGER)
    sums = {
        side: {one["per"][0]: one["sums"]["total"] for one in report["totals"][side]["sums"]}
        for side in ("source", "target")
    }
    assert sums == {"source": {"USD": 30, "EUR": 30}, "target": {"USD": 60}}
    assert kinds(report) == [("different", "3")]


def test_what_waits_for_its_delivery_is_no_difference_yet(plain: Desk) -> None:
    plain.use_ledger()
    plain.orders({1: "10.00", 2: "20.00"})
    plain.run(LEDGER)
    plain.orders({3: "30.00"})
    store = plain.store()
    store.inbox.add(LEDGER, [Incoming("3", plain.shop.orders[3]["update_date"], "3", {"order_id": "3"})])
    store.close()
    report = plain.report(LEDGER)
    assert (kinds(report), report["waiting"]) == ([], 1)


def test_what_the_target_cannot_be_listed_by_is_said_before_it_runs(plain: Desk) -> None:
    plain.edit("flows/xcart-s4hana/stock-to-xcart.yaml", "compare: [quantity]", "compare: [quantity], owns: { sku: A }")
    ended = plain.flowrun("validate", "flows")
    assert ended.code == 1
    assert "error[FR163]: the target cannot filter by 'sku'" in ended.out + ended.err


def test_values_are_not_shown_that_the_flow_masks(plain: Desk) -> None:
    plain.use_ledger(FLOW.replace("\nmap:\n", "\nprivacy: { mask: [order.created_at] }\nmap:\n"))
    plain.orders({1: "10.00"})
    plain.run(LEDGER)
    secret = plain.entries["1"]["placed"]
    plain.entries["1"]["placed"] = "2001-02-03T04:05:06Z"
    ended = plain.reconcile(LEDGER)
    assert ended.code == 1
    assert "placed:" in ended.out and secret not in ended.out
