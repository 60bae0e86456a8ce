"""A comparison of many records in a process of its own: prints seconds, megabytes at most, and the line of totals.

python -m tests.reconcile.many FOLDER RECORDS
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from flowrun.connector import ObjectInfo, Page, Query, Receipt, Verdict, discover
from flowrun.flow import load_flow
from flowrun.plan import compile_plan
from flowrun.project import load_project
from flowrun.reconcile import compare
from flowrun.reconcile.words import headline
from flowrun.store.reading import read_store

PAGE = 500


class Shop:
    def __init__(self, records: int) -> None:
        self.records = records

    def read(self, query: Query) -> Iterator[Page]:
        for start in range(0, self.records, PAGE):
            yield Page([order(n) for n in range(start, min(start + PAGE, self.records))])


class Ledger:
    """In another order than the shop. It lacks every ten thousandth, has another total for every ten thousandth and
    first, and one that nobody sent; one comes twice, as lists that move while they are read give it."""

    def __init__(self, records: int) -> None:
        self.records = records

    def read(self, query: Query) -> Iterator[Page]:
        for start in range(self.records, 0, -PAGE):
            rows = [entry(n) for n in range(start - 1, max(start - PAGE, 0) - 1, -1) if n % 10_000]
            yield Page(rows)
        yield Page([{**entry(1), "id": "extra"}, entry(2)])

    def find(self, object: str, by: Mapping[str, Any]) -> Sequence[Receipt]:
        return []

    def get(self, object: str, key: Mapping[str, Any], expand: Sequence[str] = ()) -> None:
        return None

    def deliver(self, items: Any) -> Sequence[Verdict]:
        raise AssertionError("a comparison sends nothing")


def order(n: int) -> dict[str, Any]:
    return {
        "order_id": str(n), "updated_at": "2026-05-04T10:00:00Z", "status": "P", "email": f"{n}@example.com",
        "total_amount": Decimal("10.10"), "currency": "USD", "created_at": "2026-05-04T10:00:00Z", "notes": "x" * 500,
    }  # fmt: skip


def entry(n: int) -> dict[str, Any]:
    total = "10.11" if n % 10_000 == 1 else "10.1"
    return {"id": str(n), "reference": f"XC-{n}", "total": total, "currency": "USD", "placed": "2026-05-04T10:00:00Z"}


def main(folder: str, records: int) -> None:
    project = load_project(Path(folder))
    flow = load_flow("orders-to-ledger", project, discover())
    plan = compile_plan(flow, project.environment("qa").values)
    info = ObjectInfo("entries", by_key=True, actions={"upsert": "upsert"}, match=("id",))
    held = read_store(Path(folder) / "none.db")
    begun = time.monotonic()
    report = compare(flow, plan, source=Shop(records), target=Ledger(records), info=info, held=held)
    secs = time.monotonic() - begun
    print(f"{secs:.1f} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} {headline(report)}")
    report.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
