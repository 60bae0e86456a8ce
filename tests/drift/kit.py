"""A person at the shipped project, whose store holds orders that came in before and lately."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowrun.connector import discover
from flowrun.flow import load_flow
from flowrun.project import load_project
from flowrun.store import Incoming, open_store
from flowrun.values import decode_json, encode_json
from tests.person import Person

FLOW = "xcart-orders-to-s4"
FILE = "flows/xcart-s4hana/orders-to-s4.yaml"
Change = Callable[[dict[str, Any]], Any]


class Desk(Person):
    def __init__(self, root: Path, place: Path | str, capsys: pytest.CaptureFixture[str]) -> None:
        super().__init__(capsys)
        self.root, self.place = root, place
        self.order = load_flow(FLOW, load_project(root), discover()).tests[0].given["order"]
        self._number = 1000

    def made(self, count: int, *changes: Change) -> list[dict[str, Any]]:
        """Orders like that of the flow's first test; each change is made to each of them."""
        orders = []
        for _ in range(count):
            self._number += 1
            order = copy.deepcopy(self.order)
            order["order_id"] = str(self._number)
            order["customer_id"] = str(self._number % 7 + 40)
            order["payment_method"] = ("CC", "PP", "INV")[self._number % 3]
            for change in changes:
                change(order)
            orders.append(decode_json(encode_json(order)))
        return orders

    def came_in(self, count: int, *changes: Change) -> None:
        store = open_store(self.place)
        try:
            store.inbox.add(
                FLOW, [Incoming(one["order_id"], "1", one["order_id"], one) for one in self.made(count, *changes)]
            )
        finally:
            store.close()

    def drift(self, *words: Any, code: int = 0) -> list[dict[str, Any]]:
        ended = self("drift", FLOW, *words, "--format", "json")
        assert ended.code == code, ended.err
        found: list[dict[str, Any]] = json.loads(ended.out)["flows"][0]["findings"]
        return found

    def line(self, text: str) -> int:
        lines = (self.root / FILE).read_text(encoding="utf-8").splitlines()
        found = [number for number, line in enumerate(lines, 1) if text in line]
        assert found, text
        return found[0]


def renamed(old: str, new: str) -> Change:
    def change(order: dict[str, Any]) -> None:
        order[new] = order.pop(old)

    return change
