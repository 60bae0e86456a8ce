"""The network fails between us and the target, and between us and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Timer, current_thread, main_thread
from time import monotonic, sleep
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from flowrun.connector import Item, Receipt, discover
from flowrun.errors import DeliveryUnknown, Unavailable
from flowrun.flow import load_flow
from flowrun.plan import compile_plan
from flowrun.project import load_project
from flowrun.runner import run_flow
from flowrun.store import open_store, postgres
from flowrun.testing.proxy import FAULTS, Proxy
from tests.conftest import connect_erp, connect_shop
from tests.runner.test_edges import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.store.close()


def near(erp: Any, proxy: Proxy, **more: Any) -> dict[str, Any]:
    return {**erp.connection_settings(), "base_url": f"http://127.0.0.1:{proxy.port}", **more}


def order(number: int) -> Item:
    body = {
        "SalesOrderType": "OR", "SalesOrganization": "1710", "DistributionChannel": "10", "OrganizationDivision": "00",
        "SoldToParty": "17100001", "PurchaseOrderByCustomer": f"XC-{number}", "TransactionCurrency": "USD",
        "to_Item": [{"Material": "AB-1", "RequestedQuantity": "1"}],
    }  # fmt: skip
    return Item("A_SalesOrder", "create", body, f"k{number}", ())


def calls_in_a_row(project: Path, erp: Any, fault: str, count: int) -> None:
    with Proxy(("127.0.0.1", urlsplit(erp.base_url).port or 0)).running() as proxy:
        limits = {"concurrent": "4", "timeout": "0.5"}
        target = connect_erp(erp, project, **near(erp, proxy, limits=limits))
        assert isinstance(target.deliver([order(0)])[0], Receipt)  # it has its token
        proxy.fault, proxy.cut_at = fault, 40
        with ThreadPoolExecutor(4) as pool:
            begun = monotonic()
            said = [found for (found,) in pool.map(lambda n: target.deliver([order(n)]), range(1, count + 1))]
            assert monotonic() - begun < 30 + count * 4 * 0.5 / 4, "each ends at its limit, four times the step's"
            assert {type(one) for one in said} <= {DeliveryUnknown, Unavailable}, said
            assert DeliveryUnknown in {type(one) for one in said}, "the first had left"
            proxy.fault = ""
            said = [found for (found,) in pool.map(lambda n: target.deliver([order(n)]), range(1000, 1020))]
        assert {type(one) for one in said} == {Receipt}, said


FAULTY = pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault])


@FAULTY
def test_calls_in_a_row_that_fail_keep_no_slot(project: Path, erp: Any, fault: str) -> None:
    """Each ends at its time limit, in doubt when it may have arrived; afterwards the connection is as good as ever."""
    calls_in_a_row(project, erp, fault, 12)


@pytest.mark.soak
@FAULTY
def test_a_hundred_calls_that_fail_keep_no_slot(project: Path, erp: Any, fault: str) -> None:
    calls_in_a_row(project, erp, fault, 100)


def test_a_run_over_a_network_that_fails(project: Path, erp: Any, shop: Any) -> None:
    """What may have arrived is looked up, what did not is sent; each order stands once."""
    for number in range(1, 41):
        shop.place_order([("ab-1", "Mug", 1, "10.00")], order_id=number)
    start, slept = datetime(2026, 5, 4, tzinfo=UTC), [0.0]
    store = open_store(project / "state.db", now=lambda: start + timedelta(seconds=slept[0]))
    store.xrefs.put([("customers", "42", "17100001")], "tester")
    checked = load_flow("xcart-orders-to-s4", load_project(project), discover())
    faults = iter(fault for fault in FAULTS if fault)
    with Proxy(("127.0.0.1", urlsplit(erp.base_url).port or 0)).running() as proxy:
        proxy.cut_at = 200

        def sleep(secs: float) -> None:
            slept[0] += secs
            proxy.fault = ""

        def write_leaves(block: bytes) -> bool:  # each time, something else goes wrong, until the next pause
            if block.startswith(b"POST ") and not proxy.fault:
                proxy.fault = next(faults, "")
            return False

        proxy.before = write_leaves
        summary = run_flow(
            checked,
            compile_plan(checked, load_project(project).environment("test").values),
            source=connect_shop(shop, project),
            target=connect_erp(erp, project, **near(erp, proxy, limits={"concurrent": "4", "timeout": "0.3"})),
            store=store,
            sleep=sleep,
            wait_secs=3600,
        )
    assert store.counts(checked.name) == {"confirmed": 40}
    store.close()
    assert sorted(o["PurchaseOrderByCustomer"] for o in erp.orders) == sorted(f"XC-{n}" for n in range(1, 41))
    assert summary.counts.asked > 0 and not list(faults)


# -- PostgreSQL ------------------------------------------------------------------------------------------------------


@contextmanager
def store_behind(url: str, bench: Bench) -> Iterator[Proxy]:
    """The bench's store reaches its PostgreSQL through a proxy."""
    parts = urlsplit(url)
    socket = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432"
    with Proxy(socket).running() as proxy:
        bench.store.close()
        bench.store = open_store(
            f"postgresql://postgres@127.0.0.1:{proxy.port}{parts.path}?sslmode=disable&gssencmode=disable",
            now=lambda: bench.start + timedelta(seconds=bench.slept),
        )
        yield proxy
        proxy.fault = ""
        bench.store.close()
        bench.store = open_store(bench.root / "end.db")


def once_each(bench: Bench, count: int) -> None:
    assert bench.states() == {"confirmed": count}
    sent = [body["ref"] for call in bench.target.calls for body in call]
    assert len(sent) == len(set(sent)) == count


def at_each(bench: Bench, url: str, hook: str, what: bytes, step: int) -> None:
    """Runs, in each of which the connection ends at a later message that holds ``what``: the step-th, the next …"""
    left = 0

    def ends(block: bytes) -> bool:
        nonlocal left
        left -= what in block
        return left == 0 and what in block

    with store_behind(url, bench) as proxy:
        setattr(proxy, hook, ends)
        turn, struck = 0, True
        while struck:
            turn += 1
            left = step * turn
            bench.run(*({"id": f"{turn}-{n}", "amount": n} for n in range(3)))
            struck, left = left <= 0, 0
            once_each(bench, 3 * turn)
        assert turn > 10


def test_a_commit_whose_answer_is_lost(bench: Bench, request: pytest.FixtureRequest) -> None:
    """It arrived, and the connection ends before the answer: nobody knows whether it is committed."""
    at_each(bench, request.getfixturevalue("postgres")(), "after", b"COMMIT", 1)


@pytest.mark.parametrize("hook", ["before", "after"])
def test_a_session_that_ends_anywhere(bench: Bench, request: pytest.FixtureRequest, hook: str) -> None:
    """At every fifth message of a run, before or after it reached the server."""
    at_each(bench, request.getfixturevalue("postgres")(), hook, b"", 5)


def test_cut_off_from_the_store_it_stops_sending(
    bench: Bench, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target is still within reach. Another worker takes over; when the store is back the first one goes on."""
    url: str = request.getfixturevalue("postgres")()
    monkeypatch.setattr(postgres, "ANSWER_SECS", 1.0)
    lease = 2.0
    cut_off, sent_by = Event(), dict[str, list[float]](first=[], other=[])

    def script(body: Any) -> Any:
        who = "first" if current_thread() is main_thread() else "other"
        if who == "first" and len(sent_by["first"]) == 20:
            proxy.fault = "black_hole"
            cut_off.set()
        if proxy.fault and who == "first":
            sleep(0.3)  # what it may still send lasts longer than its lease
        sent_by[who].append(monotonic())

    def deliver_too() -> None:
        cut_off.wait(60)
        begun = monotonic()
        while other.counts("orders") != {"confirmed": 100}:
            assert monotonic() - begun < 60
            bench.run(intake=False, store=other, sleep=sleep, wait_secs=5)

    with store_behind(url, bench) as proxy, closing(open_store(url)) as other, ThreadPoolExecutor(1) as pool:
        for store in (bench.store, other):
            store.database._clock = None  # both by the server's clock
            store.lanes.lease_secs = lease
        bench.target.script = script
        helper = pool.submit(deliver_too)
        Timer(3 * lease, lambda: setattr(proxy, "fault", "")).start()
        too_late = Timer(60, lambda: setattr(proxy, "fault", "reset"))  # who waits for ever is woken to be told
        too_late.start()
        bench.run(*({"id": str(n), "amount": n} for n in range(100)), sleep=sleep, wait_secs=60)
        assert too_late.is_alive(), "the answer that never came was waited for"
        too_late.cancel()
        helper.result()
        once_each(bench, 100)
        begun = sent_by["first"][20]
        while_cut_off = [at for at in sent_by["first"] if begun < at < begun + 2.9 * lease]
        assert while_cut_off and max(while_cut_off) < begun + lease
        assert sent_by["other"]
