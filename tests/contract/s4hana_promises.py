"""What the S/4HANA connector promises, each as a function that a connector class keeps or breaks.

The generic suite asks what every connector owes; these are SAP's own. ``broken`` twins in ``test_s4hana_promises.py``
break one each, so that every check here has been seen red.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from flowrun.connector import Query
from flowrun.errors import AuthFailed, Conflict, DeliveryUnknown, Refused, Unavailable
from flowrun.values import decode_json
from tests.s4hana.s4kit import Watched, connect, create, order, system, update

Promise = Callable[[Any], None]


def an_expired_session_costs_one_repeat(cls: Any) -> None:
    with system() as sim:
        s4 = connect(sim, cls)
        assert create(s4, order("XC-1")).id == "1"
        sim.expire_sessions()
        sim.log.clear()
        verdict = create(s4, order("XC-2"))
        assert getattr(verdict, "id", verdict) == "2"
        assert [r.method for r in sim.log] == ["POST", "GET", "POST"], "asked, fetched, asked again"
        assert len(sim.orders) == 2


def a_token_is_fetched_once_per_session(cls: Any) -> None:
    with system() as sim:
        s4 = connect(sim, cls)
        for number in range(3):
            create(s4, order(f"XC-{number}"))
        fetched = [r for r in sim.log if r.headers.get("x-csrf-token") == "Fetch"]
        assert len(fetched) == 1
        assert len(sim.gate.sessions) == 1, "the cookies come along"


def a_missing_authorisation_is_not_a_missing_token(cls: Any) -> None:
    with system() as sim:
        s4 = connect(sim, cls)
        create(s4)
        sim.revoke("API_SALES_ORDER_SRV")
        sim.log.clear()
        verdict = create(s4, order("XC-2"))
        assert type(verdict) is AuthFailed
        assert (verdict.code, verdict.status) == ("/IWFND/CM_CONSUMER/101", 403)
        assert [r.method for r in sim.log] == ["POST"], "never retried"


def a_wrong_password_is_tried_once(cls: Any) -> None:
    with system() as sim:
        s4 = connect(sim, cls, auth={"basic": {"user": "SIM_USER", "password": "wrong"}})
        verdict = create(s4)
        assert type(verdict) is AuthFailed
        assert len(sim.log) == 1, "repeated failures lock the user"


def what_changed_meanwhile_is_not_overwritten(cls: Any) -> None:
    with system() as sim:
        s4 = connect(sim, cls)
        create(s4)

        def somebody(request: Any) -> None:
            if request.method == "PATCH":
                sim.before = None
                sim.change_order("1", DeliveryBlockReason="09")

        sim.before = somebody
        verdict = update(s4, {"SalesOrder": "1", "DeliveryBlockReason": "01"})
        assert type(verdict) is Conflict
        assert verdict.status == 412
        assert sim.orders[0]["DeliveryBlockReason"] == "09"
        assert update(s4, {"SalesOrder": "1", "DeliveryBlockReason": "01"}).id == "1", "read again, it passes"


def an_equal_update_sends_nothing(cls: Any) -> None:
    with system() as sim:
        s4 = connect(sim, cls)
        create(s4)
        before = sim.orders[0]["LastChangeDateTime"]
        assert update(s4, {"SalesOrder": "1", "TransactionCurrency": "USD", "DeliveryBlockReason": ""}).id == "1"
        assert not sim.sent("PATCH")
        assert sim.orders[0]["LastChangeDateTime"] == before


def a_lost_answer_is_an_unknown_outcome(cls: Any) -> None:
    for fault in ("reset_after", "truncated", "timeout_after", "html200", "empty200", "garbage"):
        with system(f"{fault}*1;method=POST;hang=0.4") as sim:
            s4 = connect(sim, cls, limits={"timeout": "0.2s"})
            verdict = create(s4, order("XC-1"))
            assert type(verdict) is DeliveryUnknown, fault
            found = s4.find("A_SalesOrder", {"PurchaseOrderByCustomer": "XC-1"})
            assert len(found) == len(sim.orders), fault
            assert len(sim.orders) == (0 if fault in ("html200", "empty200", "garbage") else 1), fault


def what_never_left_is_only_unavailable(cls: Any) -> None:
    with system() as sim:
        s4 = connect(sim, cls)
    assert type(create(s4)) is Unavailable, "nobody listens any more"
    with system("503*1;method=POST;retry_after=7") as sim:
        verdict = create(connect(sim, cls))
        assert type(verdict) is Unavailable
        assert (verdict.retry_after_secs, len(sim.orders)) == (7.0, 0)
    with system("reset_before*1;method=GET") as sim:
        assert type(create(connect(sim, cls))) is Unavailable, "only the token was asked for"


def days_and_decimals_arrive_as_written(cls: Any) -> None:
    with system() as sim:
        s4 = connect(sim, cls)
        receipt = create(s4, order(RequestedDeliveryDate="2026-01-01", CustomerPurchaseOrderDate="1969-12-31"))
        assert getattr(receipt, "id", receipt) == "1"
        held = sim.orders[0]
        assert (held["RequestedDeliveryDate"], held["CustomerPurchaseOrderDate"]) == ("2026-01-01", "1969-12-31")
        assert receipt.response["RequestedDeliveryDate"] == "2026-01-01"
        body = decode_json(sim.sent("POST")[0].body)
        assert body["to_Item"]["results"][0]["RequestedQuantity"] == "2", "text, not a number"
        price = receipt.response["to_Item"][0]["to_PricingElement"][0]["ConditionRateValue"]
        assert Decimal(price) == Decimal("17.55")


def a_search_finds_only_what_it_asks_for(cls: Any) -> None:
    with system() as sim:
        s4 = connect(sim, cls)
        for reference in ("O'Neil & Sons +1", "XC-1", "xc-1"):
            create(s4, order(reference))
        assert [r.id for r in s4.find("A_SalesOrder", {"PurchaseOrderByCustomer": "O'Neil & Sons +1"})] == ["1"]
        assert [r.id for r in s4.find("A_SalesOrder", {"PurchaseOrderByCustomer": "XC-1"})] == ["2"]
        evil = "x' or PurchaseOrderByCustomer ne 'x"
        assert s4.find("A_SalesOrder", {"PurchaseOrderByCustomer": evil}) == []


def several_with_one_reference_are_all_found(cls: Any) -> None:
    with system() as sim:
        s4 = connect(sim, cls, page_size=2)
        for _ in range(7):
            create(s4, order("XC-1"))
        found = s4.find("A_SalesOrder", {"PurchaseOrderByCustomer": "XC-1"})
        assert [r.id for r in found] == [str(n) for n in range(1, 8)]


def a_change_between_pages_loses_nothing(cls: Any) -> None:
    """Every order that is read moves to the end right away: by $skip alone, every second page would be missed."""
    with system() as sim:
        s4 = connect(sim, cls)
        for number in range(12):
            create(s4, order(f"XC-{number}"))
        _move_while_read(sim)
        pages = list(s4.read(Query("A_SalesOrder", cursor="LastChangeDateTime", page_size=4)))
        found = {record["SalesOrder"] for page in pages for record in page.records}
        assert found == {str(n) for n in range(1, 13)}


def _move_while_read(sim: Watched) -> None:
    state = {"calls": 0}

    def touch(request: Any) -> None:
        if request.method == "GET" and "$top" in request.query:
            state["calls"] += 1
            if 1 < state["calls"] < 4:  # between the pages: the first two orders get a new stamp
                for number in (state["calls"] - 1, state["calls"]):
                    sim.world.touch(sim.world.order(str(number)))

    sim.before = touch


def a_foreign_next_link_is_read_from_our_own_host(cls: Any) -> None:
    with system(page_limit=3) as sim:
        s4 = connect(sim, cls)
        for number in range(8):
            create(s4, order(f"XC-{number}"))
        pages = list(s4.read(Query("A_SalesOrder", cursor="LastChangeDateTime")))
        assert [len(page.records) for page in pages] == [3, 3, 2]
        assert [r["SalesOrder"] for page in pages for r in page.records] == [str(n) for n in range(1, 9)]


def deep_items_come_back_as_plain_lists(cls: Any) -> None:
    with system() as sim:
        s4 = connect(sim, cls)
        receipt = create(s4)
        assert isinstance(receipt.response["to_Item"], list)
        assert [item["SalesOrderItem"] for item in receipt.response["to_Item"]] == ["10", "20"]
        assert "__metadata" not in receipt.response
        record = s4.get("A_SalesOrder", {"SalesOrder": "1"}, ["to_Item/to_ScheduleLine", "to_Partner/to_Address"])
        assert record["to_Item"][0]["to_ScheduleLine"][0]["RequestedDeliveryDate"] == "2026-05-12"
        assert record["to_Partner"][0]["to_Address"][0]["CityName"] == "Palo Alto"
        assert "to_Text" not in record, "what is not expanded is absent"


def a_refusal_has_sap_s_code_words_and_field(cls: Any) -> None:
    with system() as sim:
        verdict = create(connect(sim, cls), order(SoldToParty="99"))
        assert type(verdict) is Refused
        assert (verdict.code, verdict.field, verdict.status) == ("VP/196", "SoldToParty", 400)
        assert "99" in verdict.message
        assert not any("Some earlier warning" in text for _, text in verdict.details), "a warning is not the reason"
        assert not sim.orders


def a_locked_document_is_tried_again_later(cls: Any) -> None:
    with system() as sim:
        s4 = connect(sim, cls)
        sim.hold("17100001")
        assert type(create(s4)) is Unavailable
        assert create(s4).id == "1"


PROMISES: tuple[Promise, ...] = (
    an_expired_session_costs_one_repeat,
    a_token_is_fetched_once_per_session,
    a_missing_authorisation_is_not_a_missing_token,
    a_wrong_password_is_tried_once,
    what_changed_meanwhile_is_not_overwritten,
    an_equal_update_sends_nothing,
    a_lost_answer_is_an_unknown_outcome,
    what_never_left_is_only_unavailable,
    days_and_decimals_arrive_as_written,
    a_search_finds_only_what_it_asks_for,
    several_with_one_reference_are_all_found,
    a_change_between_pages_loses_nothing,
    a_foreign_next_link_is_read_from_our_own_host,
    deep_items_come_back_as_plain_lists,
    a_refusal_has_sap_s_code_words_and_field,
    a_locked_document_is_tried_again_later,
)
