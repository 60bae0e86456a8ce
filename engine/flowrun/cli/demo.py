"""flowrun demo: an order becomes a sales order, on two simulated systems, through the real engine."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from flowrun.cli.main import EXIT_FINDINGS, EXIT_OK
from flowrun.connections import simulator_of
from flowrun.connector import discover
from flowrun.errors import FlowrunError
from flowrun.templates import copy_templates

FLOW = "xcart-orders-to-s4"


class DemoFailed(FlowrunError):
    """Something did not come out as it must."""


@click.command(name="demo")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the project here, to try things yourself.")
def command(keep: Path | None) -> int:
    """See an order become a sales order: two simulated systems, the shipped flows, the real engine."""
    begun = time.monotonic()
    with ExitStack() as stack:
        root = keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        root.mkdir(parents=True, exist_ok=True)
        try:
            Demo(root, stack).run()
        except DemoFailed as error:
            click.echo(f"the demo failed: {error.message}", err=True)
            return EXIT_FINDINGS
    click.echo(f"\ndone in {time.monotonic() - begun:.1f} s" + (f"; the project is in {keep}" if keep else ""))
    return EXIT_OK


class Demo:
    """A project in a folder, two simulators on this machine, and the same commands a person would type."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self.root = root
        registry = discover()
        self.shop = simulator_of(registry["xcart"], "xcart")
        self.erp = simulator_of(registry["s4hana"], "s4hana")
        shop_url = stack.enter_context(self.shop.running())
        erp_url = stack.enter_context(self.erp.running())
        copy_templates(root)
        shop, erp = self.shop.connection_settings(), self.erp.oauth_settings()["auth"]["oauth2_client_credentials"]
        self.environ = {
            **os.environ,
            "XCART_URL": shop_url,
            "S4_URL": erp_url,
            "S4_TOKEN_URL": erp["token_url"],
            "FLOWRUN_SECRET_XCART_API_KEY": shop["api_key"],
            "FLOWRUN_SECRET_XCART_WEBHOOK_SECRET": shop["webhook_secret"],
            "FLOWRUN_SECRET_S4_CLIENT_ID": erp["client_id"],
            "FLOWRUN_SECRET_S4_CLIENT_SECRET": erp["client_secret"].reveal(),
        }

    def run(self) -> None:
        self.prepare()
        self.title("Seven orders wait in the shop. One is from a customer S/4HANA does not know.")
        self.flowrun("run", FLOW, "--env", "qa", expect=1)
        self.check(len(self.erp.orders) == 6, f"6 sales orders expected, S/4HANA has {len(self.erp.orders)}")

        self.title("What stands in S/4HANA now")
        for order in self.erp.orders:
            items = ", ".join(f"{i['RequestedQuantity']} {i['Material']}" for i in order["to_Item"])
            head = f"{order['SalesOrder']:>3}  {order['SalesOrderType']:<4}  {order['PurchaseOrderByCustomer']}"
            click.echo(f"  sales order {head}  {items}")

        self.title("Run again: nothing is sent twice")
        said = self.flowrun("run", FLOW, "--env", "qa")
        self.check("0 sent" in said and len(self.erp.orders) == 6, "the second run sent something")

        self.title("The dead letter, and why")
        said = self.flowrun("dlq", "list", "--env", "qa")
        self.check("customers has no row for '77'" in said, "the dead letter does not say why")
        self.flowrun("dlq", "show", FLOW, "1007", "--env", "qa", lines=8)

        self.title("It was customer 42 after all: correct it, replay it")
        self.flowrun("dlq", "edit", FLOW, "1007", "--set", "customer_id=42", "--env", "qa")
        self.flowrun("dlq", "replay", FLOW, "1007", "--env", "qa")
        self.check(len(self.erp.orders) == 7, "the corrected order did not arrive")

        self.title("Why does the big order from abroad have type ZEXB?")
        self.write_input()
        said = self.flowrun(
            "explain", FLOW, "--input", "order.jsonl", "--xref", "xref.yaml", "--field", "SalesOrderType", "--env", "qa"
        )
        self.check("ZEXB" in said, "the explanation does not come out as ZEXB")

        self.title("Goods leave the warehouse: the shop is told, with tracking number")
        self.erp.deliver(self.erp.orders[0]["SalesOrder"], tracking="1Z999AA10123456784")
        self.flowrun("run", "s4-deliveries-to-xcart", "--env", "qa")
        order = self.shop.orders[1001]
        self.check(
            order["shipping_status"]["code"] == "S" and bool(order["tracking_numbers"]),
            "the shop does not know of the shipment",
        )
        status, tracking = order["shipping_status"]["code"], order["tracking_numbers"][0]["value"]
        click.echo(f"  X-Cart order 1001: shipping status {status}, tracking {tracking}")

    def prepare(self) -> None:
        """Master data on both sides, seven orders, one cross-reference."""
        from flowrun.store import open_store
        from flowrun.values import system_clock

        self.erp.add_customer("17100001", "Ann Lee")
        for material in ("MUG-1", "CUP-2"):
            self.erp.add_material(material)
        for number in range(1001, 1006):
            self.shop.place_order(
                [("mug-1", "Mug", number - 1000, "10.00"), ("cup-2", "Cup", 1, "7.50")], order_id=number, tax="1.20"
            )
        self.shop.place_order(
            [("mug-1", "Mug", 120, "10.00")], order_id=1006, country="DE", currency="EUR", discount="20.00"
        )
        self.shop.place_order([("mug-1", "Mug", 1, "10.00")], order_id=1007, customer_id=77)
        (self.root / ".flowrun").mkdir(exist_ok=True)
        store = open_store(self.root / ".flowrun" / "state-qa.db", now=system_clock)
        try:
            with store.transaction() as tx:  # the customer flow would have left this
                store.remember(tx, "customers", "42", "17100001")
        finally:
            store.close()

    def write_input(self) -> None:
        """The big order as the connector reads it, from the shop itself, and the cross-reference it needs."""
        from flowrun.connections import build
        from flowrun.values import encode_json, system_clock

        shop = build(discover()["xcart"], "xcart", self.shop.connection_settings(), now=system_clock, root=self.root)
        order: Any = shop.get("orders", {"order_id": 1006})
        (self.root / "order.jsonl").write_bytes(encode_json(order) + b"\n")
        (self.root / "xref.yaml").write_text('customers: { "42": "17100001" }\n', encoding="utf-8")

    def title(self, words: str) -> None:
        click.echo("\n" + click.style(words, bold=True))

    def check(self, holds: bool, words: str) -> None:
        if not holds:
            raise DemoFailed(words)

    def flowrun(self, *words: str, expect: int = 0, lines: int | None = None) -> str:
        """Run a command in the project as a person would, show it and what it says."""
        click.echo(click.style(f"$ flowrun {' '.join(words)}", fg="cyan"))
        done = subprocess.run(  # noqa: S603 - this very program
            [sys.executable, "-m", "flowrun", *words],
            cwd=self.root,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        said = done.stdout + "".join(line + "\n" for line in done.stderr.splitlines() if not line.startswith("{"))
        shown = said.splitlines()
        for line in shown[:lines]:
            click.echo(f"  {line}")
        if lines is not None and len(shown) > lines:
            click.echo("  …")
        if done.returncode != expect:
            raise DemoFailed(f"'flowrun {' '.join(words)}' ended with {done.returncode}, not {expect}")
        return said
