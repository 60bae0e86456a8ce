"""The http connector keeps every promise, in every paging style, with a fixed token and with one that ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowrun.testing.contract_suite import Reading, Writing, contract_tests
from flowrun_connectors.http.connector import Http
from flowrun_connectors.http.simulator import OBJECTS, HttpSimulator


def fill(world: HttpSimulator, n: int) -> None:
    for _ in range(n):
        world.add("orders", reference=f"R{world._serial}", total="10.50")


def same_moment(world: HttpSimulator, n: int) -> None:
    for _ in range(n):
        world.add("orders", reference="same", updated_at="2026-05-04T10:00:02Z")


def body(world: HttpSimulator, n: int) -> Mapping[str, Any]:
    return {"reference": f"XC-{n}", "status": "open"}


def count(world: HttpSimulator, n: int) -> int:
    return sum(1 for row in world.rows["orders"].values() if row.get("reference") == f"XC-{n}")


def refused(world: HttpSimulator) -> Mapping[str, Any]:
    return {"status": "open"}


def objects(paging: Mapping[str, Any], *, create: Mapping[str, Any] | None = None, **read: Any) -> Mapping[str, Any]:
    orders = dict(OBJECTS["orders"])
    return {
        "orders": {
            **orders,
            "read": {**orders["read"], **read, "paging": paging},
            "create": {**orders["create"], **(create or {})},
        }
    }


WRITE = Writing("orders", "create", body, count, find=("reference",), refused=refused)
CREATE_BY_KEY = Writing("orders", "create", body, count, refused=refused)


def reading(**more: Any) -> Reading:
    return Reading("orders", "id", fill, cursor="updated_at", same_moment=same_moment, **more)


def touch(world: HttpSimulator, key: str) -> None:
    world.touch("orders", key)


TestPages = contract_tests(Http, simulator=HttpSimulator, read=reading(), write=WRITE)

OFFSET = objects({"style": "offset"})
TestOffsets = contract_tests(Http, simulator=lambda: HttpSimulator(OFFSET), read=reading(touch=touch))

SINCE = objects({"style": "since"})
TestSince = contract_tests(
    Http,
    simulator=lambda: HttpSimulator(SINCE),
    read=Reading("orders", "id", fill, cursor="updated_at", touch=touch),
)

CURSOR = objects({"style": "cursor", "next": "meta.next"}, sorted=True)
TestCursors = contract_tests(Http, simulator=lambda: HttpSimulator(CURSOR), read=reading(touch=touch))

SORTED = objects({"style": "page"}, sorted=True)
TestSortedPages = contract_tests(Http, simulator=lambda: HttpSimulator(SORTED), read=reading(touch=touch))

NEXT_URL = objects({"style": "next_url", "next": "links.next"})
TestNextUrls = contract_tests(Http, simulator=lambda: HttpSimulator(NEXT_URL), read=reading())

LINKS = objects({"style": "link_header"}, create={"idempotency_header": "Idempotency-Key"})
TestLinkHeaders = contract_tests(
    Http, simulator=lambda: HttpSimulator(LINKS, oauth=True), read=reading(), write=CREATE_BY_KEY
)
