"""A person at the command line of a project with three simulated systems: the shop, S/4HANA, and a ledger that takes
changes and can be listed."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from flowrun.store import Store, open_store
from flowrun.testing.simulator import SimRequest
from flowrun.values import decode_json
from flowrun_connectors.http.simulator import TOKEN, HttpSimulator
from tests.planning.plankit import Desk as Shipped
from tests.planning.plankit import Ended

LEDGER = "orders-to-ledger"
OBJECTS: dict[str, Any] = {
    "entries": {
        "key": "id",
        "read": {"path": "entries", "paging": {"style": "page", "size": 3}},
        "get": {"path": "entries/{id}"},
        "upsert": {"path": "entries/{id}"},
        "fields": {"id": "text", "reference": "text", "total": "decimal", "currency": "text", "placed": "datetime",
                   "status": "text", "updated_at": "datetime"},
    }
}  # fmt: skip
CONNECTION = """
  ledger:
    connector: http
    base_url: { env: LEDGER_URL }
    auth: { bearer: { token: { secret: ledger_token } } }
    objects:
      entries:
        key: id
        read: { path: entries, paging: { style: page, size: 3 } }
        get: { path: "entries/{id}" }
        upsert: { path: "entries/{id}" }
        fields:
          id: text
          reference: text
          total: decimal
          currency: text
          placed: datetime
          status: text
          updated_at: datetime
"""
FLOW = """
flowrun: 1
flow: orders-to-ledger
title: Orders into the ledger
owner: finance
source:
  connection: xcart
  object: orders
  record: order
  trigger: { poll: { every: 10m, cursor: order.updated_at, overlap: 5m } }
  key: order.order_id
  version: order.updated_at
  only_when: order.status != 'D'
  reconcile:
    full: "0 3 * * *"
    owns: all
    totals: { total: order.total_amount }
    per: { currency: order.currency }
require:
  - { rule: order.email is not missing, message: "Order {{ order.order_id }} has no e-mail" }
map:
  id: order.order_id
  reference: "XC-{{ order.order_id }}"
  total: { from: order.total_amount, as: decimal 2 }
  currency: order.currency
  placed: order.created_at
target:
  connection: ledger
  object: entries
  action: upsert
  match: id
  only_changes: true
on_error:
  other: { dead_letter: ledger, alert: finance }
"""


class Desk(Shipped):
    """place: of the store, where it is no file."""

    def __init__(self, root: Path, shop: Any, erp: Any, monkeypatch: Any, capsys: Any) -> None:
        super().__init__(root, shop, erp, monkeypatch, capsys)
        self.place_: str = ""
        self.ledger = HttpSimulator(OBJECTS)
        self._monkeypatch = monkeypatch

    def use_ledger(self, flow: str = FLOW) -> None:
        self._monkeypatch.setenv("LEDGER_URL", self.ledger.base_url)
        self._monkeypatch.setenv("FLOWRUN_SECRET_LEDGER_TOKEN", TOKEN)
        text = (self.root / "flowrun.yaml").read_text()
        (self.root / "flowrun.yaml").write_text(text.replace("\nenvironments:", CONNECTION + "\nenvironments:", 1))
        (self.root / "flows" / "ledger.yaml").write_text(flow)

    @property
    def entries(self) -> dict[str, dict[str, Any]]:
        return self.ledger.rows["entries"]

    def store(self) -> Store:
        return open_store(self.place_ or self.root / ".flowrun" / "state-qa.db")

    def reconcile(self, flow: str, *words: str) -> Ended:
        return self.flowrun("reconcile", flow, "--env", "qa", *words)

    def report(self, flow: str, *words: str) -> dict[str, Any]:
        ended = self.reconcile(flow, "--format", "json", *words)
        assert ended.code in (0, 1), ended.err
        found: dict[str, Any] = decode_json(ended.out)
        return found

    def run(self, flow: str, *words: str) -> Ended:
        ended = self.flowrun("run", flow, "--env", "qa", *words)
        assert ended.code == 0, ended.out + ended.err
        return ended

    def writes(self) -> list[str]:
        sent: list[SimRequest] = [*self.erp.log, *self.shop.log, *self.ledger.log]
        return [
            f"{one.method} {one.path}" for one in sent if one.method not in ("GET", "HEAD") and "token" not in one.path
        ]

    def orders(self, amounts: dict[int, str], **more: Any) -> None:
        """number → total, of which 5.00 is freight."""
        for number, total in amounts.items():
            price = str(Decimal(total) - 5)
            self.shop.place_order([("ab-1", "Mug", 1, price)], order_id=number, **more)


def kinds(report: dict[str, Any]) -> list[tuple[str, str]]:
    return sorted((one["kind"], one["key"]) for one in report["differences"])
