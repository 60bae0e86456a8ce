"""The network fails between us and the target, and between us and PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from flowrun.connector import Item, Receipt
from flowrun.errors import DeliveryUnknown, Unavailable
from flowrun.store import Store, database, open_store
from flowrun.testing.proxy import FAULTS, Proxy
from tests.conftest import connect_erp
from tests.runner.test_edges import Bench

IN_A_ROW = int(os.environ.get("FLOWRUN_NETWORK_CALLS", "100"))


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
