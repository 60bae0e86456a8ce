"""A target that repeats in its answers what it was sent: what stays of them holds nothing of a record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.faults.world import NUMBERED
from tests.runner.test_edges import PROJECT

from flowrun.connector import Item, Receipt, Verdict, discover
from flowrun.errors import Unavailable
from flowrun.flow import load_flow
from flowrun.plan import compile_plan
from flowrun.project import load_project
from flowrun.runner import run_flow
from flowrun.store import open_store
from flowrun.store.cover import Cover
from flowrun.store.seal import Seal
from flowrun.values import Secret

CANARY = "ann.canary@example.com"


class Echo:
    def find(self, object: str, by: Any) -> Sequence[Receipt]:
        return []

    def deliver(self, items: Sequence[Item]) -> Sequence[Verdict]:
        return [Unavailable(f"503: no room for {item.body['amount']}") for item in items]


@pytest.mark.parametrize("how", ["masked", "encrypted", "open"])
def test_a_connection_that_fails_says_nothing_of_a_record(how: str, store_place: Path | str, tmp_path: Path) -> None:
    root = tmp_path / "project"
    (root / "flows").mkdir(parents=True)
    (root / "flowrun.yaml").write_text(PROJECT)
    privacy = "privacy: { mask: [it.amount] }\n" if how == "masked" else ""
    (root / "flows/numbered.yaml").write_text(NUMBERED + privacy)
    flow = load_flow("numbered", load_project(root), discover())
    cover = Cover(lambda: Seal(Secret("A" * 43 + "=")), encrypts=True) if how == "encrypted" else None
    store = open_store(store_place, cover=cover)
    records = [{"id": str(n), "v": 1, "lane": str(n), "amount": f"{n} {CANARY}"} for n in range(20)]
    run_flow(flow, compile_plan(flow, {}), target=Echo(), store=store, records=records, wait_secs=0.0)
    (circuit,) = store.circuits.all()
    assert circuit.state == "open" and circuit.reason.startswith("503: no room for")
    assert (CANARY in circuit.reason) == (how == "open")
    said = " ".join(row.error_message or "" for row in store.records())
    assert "503" in said and (CANARY in said) == (how != "masked"), "of a record itself, in its own row"
    store.close()
