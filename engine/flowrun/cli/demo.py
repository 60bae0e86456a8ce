"""flowrun demo: an order becomes a sales order, on two simulated systems, through the real engine.

Every step is a command of flowrun, run as a person would run it and shown with what it says. Whatever does not come out
as it must ends the demo with exit code 1.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flowrun.cli.main import EXIT_FINDINGS, EXIT_OK
from flowrun.connections import build, simulator_of
from flowrun.connector import discover
from flowrun.errors import FlowrunError, ProjectError
from flowrun.store import open_store
from flowrun.templates import copy_templates
from flowrun.values import encode_json, system_clock

FLOW = "xcart-orders-to-s4"
BACK = "s4-deliveries-to-xcart"
ENV = ("--env", "qa")
REFUSED = "1007"
TRACKING = "1Z999AA10123456784"
LONGEST_SECS = 60  # for one command


class DemoFailed(FlowrunError):
    """Something did not come out as it must."""


@click.command(name="demo")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Keep the project in this new folder.")
def command(keep: Path | None) -> int:
    """See an order become a sales order: two simulated systems, the shipped flows, the real engine."""
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise ProjectError(f"{keep} is not empty", help="name a new folder: flowrun demo --keep try-flowrun")
    begun = time.monotonic()
    stage = Stage()
    with ExitStack() as stack:
        root = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flowrun-demo-")))
        root.mkdir(parents=True, exist_ok=True)
        try:
            demo = Demo(root, stack, stage)
            demo.run()
            if keep is not None:
                demo.keep()
        except DemoFailed as error:
            click.echo(f"the demo failed: {error.message}", err=True)
            return EXIT_FINDINGS
    stage.say(f"\ndone in {time.monotonic() - begun:.1f} s")
    if keep is not None:
        stage.say(f"{keep} is yours to explore; there, both simulated systems run inside the commands (--env dev):")
        for words in (("dlq", "list"), ("run", FLOW), ("runs",)):
            stage.command(f"cd {keep} && flowrun {shlex.join((*words, '--env', 'dev'))}")
    return EXIT_OK


class Stage:
    """What is shown: with colours and tables on a terminal, plain when piped."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, markup=False, emoji=False)

    def title(self, words: str) -> None:
        self.say("")
        self.say(words, "bold")

    def command(self, line: str) -> None:
        self.say(f"$ {line}", "cyan")

    def say(self, line: str, style: str = "") -> None:
        self.console.print(Text(line, style=style), soft_wrap=True)

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        if self.console.is_terminal:
            table = Table(*heads)
            for row in rows:
                table.add_row(*(Text(cell) for cell in row))
            self.console.print(table)
            return
        widths = [max(len(row[n]) for row in (heads, *rows)) for n in range(len(heads))]
        for row in (heads, *rows):
            self.say("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


class Demo:
    """A project in a folder and two simulators on this machine; ``run`` plays the story."""

    def __init__(self, root: Path, stack: ExitStack, stage: Stage) -> None:
        self.root = root
        self.stage = stage
        registry = discover()
        self.shop = simulator_of(registry["xcart"], "xcart")
        self.erp = simulator_of(registry["s4hana"], "s4hana")
        shop_url = stack.enter_context(self.shop.running())
        erp_url = stack.enter_context(self.erp.running())
        copy_templates(root)
        shop = self.shop.connection_settings()
        erp = self.erp.oauth_settings()["auth"]["oauth2_client_credentials"]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLOWRUN_")}
        self.environ = {
            **inherited,
            "XCART_URL": shop_url,
            "S4_URL": erp_url,
            "S4_TOKEN_URL": erp["token_url"],
            "FLOWRUN_SECRET_XCART_API_KEY": shop["api_key"],
            "FLOWRUN_SECRET_XCART_WEBHOOK_SECRET": shop["webhook_secret"],
            "FLOWRUN_SECRET_S4_CLIENT_ID": erp["client_id"],
            "FLOWRUN_SECRET_S4_CLIENT_SECRET": erp["client_secret"].reveal(),
        }

    # -- the story -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        title = self.stage.title
        self.prepare()
        title("The shipped flows are checked: no network, no data")
        self.flowrun("validate", lines=4)

        title("Seven orders wait in the shop; one is from a customer that S/4HANA does not know")
        self.flowrun("run", FLOW, *ENV, expect=1)
        self.check(self.arrived() == [1001, 1002, 1003, 1004, 1005, 1006], "six of the seven orders belong in S/4HANA")

        title("What stands in S/4HANA now")
        self.show_sales_orders()

        title("Run again: nothing is sent twice")
        sent = self.writes()
        self.flowrun("run", FLOW, *ENV)
        self.check(self.writes() == sent, "the second run wrote to S/4HANA")

        title("The dead letter, and why")
        said = self.flowrun("dlq", "list", *ENV)
        self.check("customers has no row for '77'" in said, "the dead letter does not say why")
        self.flowrun("dlq", "show", FLOW, REFUSED, *ENV, lines=8)

        title("It was customer 42 after all: correct it, replay it")
        self.flowrun("dlq", "edit", FLOW, REFUSED, "--set", "customer_id=42", *ENV)
        self.flowrun("dlq", "replay", FLOW, REFUSED, *ENV)
        self.check(self.arrived()[-1] == int(REFUSED), "the corrected order did not arrive")
        self.check(self.writes() == sent + 1, "the replay wrote more than one sales order")

        title("Why does the big order from abroad have type ZEXB?")
        self.write_input()
        said = self.flowrun(
            "explain", FLOW, "--input", "order.jsonl", "--xref", "xref.yaml", "--field", "SalesOrderType", *ENV
        )
        self.check("ZEXB" in said and "big_order" in said, "the explanation does not name the rule")

        title("Goods leave the warehouse: the shop is told, with tracking number")
        self.erp.deliver(self.erp.orders[0]["SalesOrder"], tracking=TRACKING)
        self.flowrun("run", BACK, *ENV)
        self.show_shipment()

        title("Every record has ended in exactly one outcome")
        self.flowrun("runs", *ENV)

    def prepare(self) -> None:
        """Master data on both sides, seven orders, one cross-reference."""
        self.erp.add_customer("17100001", "Ann Lee")
        for material in ("MUG-1", "CUP-2"):
            self.erp.add_material(material)
        for number in range(1001, 1006):
            lines = [("mug-1", "Mug", number - 1000, "10.00"), ("cup-2", "Cup", 1, "7.50")]
            self.shop.place_order(lines, order_id=number, tax="1.20")
        self.shop.place_order(
            [("mug-1", "Mug", 120, "10.00")], order_id=1006, country="DE", currency="EUR", discount="20.00"
        )
        self.shop.place_order([("mug-1", "Mug", 1, "10.00")], order_id=int(REFUSED), customer_id=77)
        (self.root / ".flowrun").mkdir(exist_ok=True)
        store = open_store(self.root / ".flowrun" / "state-qa.db")
        try:
            store.xrefs.put([("customers", "42", "17100001")], "demo")  # a flow that syncs customers leaves this
        finally:
            store.close()

    def write_input(self) -> None:
        """The big order as the connector reads it from the shop, and the cross-reference that it needs."""
        shop = build(discover()["xcart"], "xcart", self.shop.connection_settings(), now=system_clock, root=self.root)
        try:
            order: Any = shop.get("orders", {"order_id": 1006})
        finally:
            shop.http.close()
        (self.root / "order.jsonl").write_bytes(encode_json(order) + b"\n")
        (self.root / "xref.yaml").write_text('customers: { "42": "17100001" }\n', encoding="utf-8")

    # -- looking at the systems ------------------------------------------------------------------------------------

    def arrived(self) -> list[int]:
        """Shop orders that stand in S/4HANA, in the order of their numbers; a double would stand there twice."""
        return sorted(int(order["PurchaseOrderByCustomer"].removeprefix("XC-")) for order in self.erp.orders)

    def writes(self) -> int:
        """Requests that created sales orders, or tried to."""
        return sum(one.method == "POST" and one.path.endswith("A_SalesOrder") for one in self.erp.log)

    def show_sales_orders(self) -> None:
        rows = []
        for order in self.erp.orders:
            items = ", ".join(f"{item['RequestedQuantity']} {item['Material']}" for item in order["to_Item"])
            facts = [order[n] for n in ("SalesOrder", "SalesOrderType", "PurchaseOrderByCustomer", "SoldToParty")]
            rows.append([*facts, order["TransactionCurrency"], items])
        self.stage.table(["sales order", "type", "shop order", "customer", "currency", "items"], rows)

    def show_shipment(self) -> None:
        order = self.shop.orders[1001]
        status, numbers = order["shipping_status"]["code"], [t["value"] for t in order["tracking_numbers"]]
        self.stage.say(f"  X-Cart order 1001: shipping status {status}, tracking {', '.join(numbers) or 'none'}")
        self.check(status == "S" and numbers == [TRACKING], "the shop does not know of the shipment")

    # -- doing -----------------------------------------------------------------------------------------------------

    def check(self, holds: bool, words: str) -> None:
        if not holds:
            raise DemoFailed(words)

    def flowrun(self, *words: str, expect: int = 0, lines: int | None = None) -> str:
        """Run a command in the project, show it and what it says (the first ``lines``). Raises DemoFailed when it does
        not end as expected."""
        line = f"flowrun {shlex.join(words)}"
        self.stage.command(line)
        try:
            done = subprocess.run(  # noqa: S603 - this very program
                [sys.executable, "-P", "-m", "flowrun", *words],
                cwd=self.root,
                env=self.environ,
                capture_output=True,
                text=True,
                encoding="utf-8",
                timeout=LONGEST_SECS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise DemoFailed(f"'{line}' did not end within {LONGEST_SECS} s") from None
        notes = [one for one in done.stderr.splitlines() if not one.startswith("{")]  # log lines are for machines
        shown = [*done.stdout.splitlines(), *notes]
        failed = done.returncode != expect
        for one in shown if failed else shown[:lines]:
            self.stage.say(f"  {one}")
        if lines is not None and len(shown) > lines and not failed:
            self.stage.say("  …")
        if failed:
            raise DemoFailed(f"'{line}' ended with {done.returncode}, not {expect}")
        return "\n".join(shown)

    def keep(self) -> None:
        """Leave the systems and the state as they are now to the environment that simulates both (``dev``)."""
        state = self.root / ".flowrun"
        (state / "sandbox").mkdir(exist_ok=True)
        for name, simulator in (("xcart", self.shop), ("s4", self.erp)):
            (state / "sandbox" / f"{name}.json").write_bytes(encode_json(simulator.dump()))
        for file in state.glob("state-qa.db*"):
            if not file.name.endswith(".lock"):
                shutil.copy(file, file.with_name(file.name.replace("state-qa", "state-dev")))
