"""Mapping speed as ratios in one run, interleaved, medians. Run with:

    pytest -m benchmark tests/benchmarks/test_mapping_ratio.py -s

The same orders (1.4 KB, 1–6 items, nested addresses, lookups, rules, dates, concatenation, rounding) go through flowrun,
through a hand-written Python function with the same JSON library, through the obvious interpreter (jmespath.py and
Jinja2 called for each field), and through jq where it is installed. All give the same values.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jinja2
import jmespath
import msgspec
import pytest

pytestmark = pytest.mark.benchmark

FLOW = """
flowrun: 1
flow: bench
source: { connection: files, object: in.jsonl, record: order, trigger: { poll: { every: 1m, full: true } }, key: order.order_id }
rules:
  big: order.total_amount > 1000
  foreign: order.billing.country != env.home
lookups:
  countries: { table: { US: US, DE: DE, NO: "NO", FR: FR }, on_miss: error }
  payment: { table: { CC: D, PP: E, INV: Z }, on_miss: { use: Z } }
map:
  SalesOrderType: { first: [{ when: big and foreign, value: ZEXB }, { when: big, value: ZBIG }, { value: OR }] }
  SalesOrganization: env.org
  DistributionChannel: { value: "10" }
  SoldToParty: { from: order.customer_id, as: alpha 10 }
  PurchaseOrderByCustomer: "XC-{{ order.order_id }}"
  SalesOrderDate: { from: order.date, as: date unix America/New_York }
  TransactionCurrency: { from: order.currency, as: upper }
  PaymentMethod: { from: order.payment_method, lookup: payment }
  Country: { from: order.billing.country, lookup: countries }
  ShipName: "{{ order.shipping.firstname }} {{ order.shipping.lastname }}"
  ShipStreet: { from: order.shipping.street, as: truncate 35 }
  ShipCity: order.shipping.city
  ShipZip: { from: order.shipping.zip, optional: true }
  Terms: { from: order.terms, optional: true }
  to_Item:
    each: line in order.items
    number: n
    map:
      SalesOrderItem: { calc: n * 10, as: pad 6 }
      Material: { from: line.sku, as: [trim, upper] }
      Text: { from: line.name, as: truncate 40 }
      RequestedQuantity: { from: line.qty, as: decimal 3 }
      Unit: { from: line.unit, default: EA }
      Price: { from: line.price, as: decimal 2 half_up }
target: { connection: files, object: out.jsonl, action: create, idempotency: { key: order.order_id, find_existing: PurchaseOrderByCustomer } }
"""
COUNTRIES = {"US": "US", "DE": "DE", "NO": "NO", "FR": "FR"}
PAYMENT = {"CC": "D", "PP": "E", "INV": "Z"}
ENV = {"org": "1710", "home": "US"}
NEW_YORK = ZoneInfo("America/New_York")
CENT, MILLI = Decimal("0.01"), Decimal("0.001")


def order(number: int) -> dict[str, Any]:
    lines = [
        {
            "line_id": f"{number}-{i}", "sku": f" ab-{i}x ", "name": f"A mug of colour {i} with a long name", "qty": str(1 + i),
            "price": f"{10 + i}.{number % 1000:03d}", "amount": f"{20 + i}.00", "unit": "EA" if i % 2 else None, "sku_group": "MUGS",
        }
        for i in range(1 + number % 6)
    ]  # fmt: skip
    place = {"firstname": "Ann", "lastname": "Lee", "street": "1 Main Street, third floor, second door", "city": "San Francisco",
             "zip": "94105", "state": "CA", "phone": "+1 555 0100"}  # fmt: skip
    return {
        "order_id": str(100000 + number), "status": "P", "date": 1777888800 + number, "customer_id": str(number % 500), "currency": "usd",
        "payment_method": ["CC", "PP", "XX"][number % 3], "total_amount": f"{number % 2000}.50", "notes": "leave it at the door " * 4,
        "billing": {**place, "country": ["US", "DE", "NO", "FR"][number % 4]}, "shipping": {**place, "country": "US"}, "items": lines,
    }  # fmt: skip


def by_hand(o: dict[str, Any]) -> dict[str, Any]:
    """What a careful programmer would write for this one flow: the same checks on what must be there."""

    def need(value: Any) -> Any:
        if value is None or value == "" or (type(value) is str and value.isspace()):
            raise ValueError("missing")
        return value

    big = Decimal(o["total_amount"]) > 1000
    foreign = o["billing"]["country"] != ENV["home"]
    customer = need(o["customer_id"])
    ship = o["shipping"]
    body = {
        "SalesOrderType": "ZEXB" if big and foreign else "ZBIG" if big else "OR",
        "SalesOrganization": ENV["org"],
        "DistributionChannel": "10",
        "SoldToParty": customer.zfill(10) if customer.isdigit() else customer,
        "PurchaseOrderByCustomer": f"XC-{need(o['order_id'])}",
        "SalesOrderDate": datetime.fromtimestamp(need(o["date"]), UTC).astimezone(NEW_YORK).date().isoformat(),
        "TransactionCurrency": need(o["currency"]).upper(),
        "PaymentMethod": PAYMENT.get(need(o["payment_method"]), "Z"),
        "Country": COUNTRIES[need(o["billing"]["country"])],
        "ShipName": f"{ship['firstname']} {ship['lastname']}",
        "ShipStreet": need(ship["street"])[:35],
        "ShipCity": need(ship["city"]),
    }
    if ship.get("zip"):
        body["ShipZip"] = ship["zip"]
    if o.get("terms"):
        body["Terms"] = o["terms"]
    items = []
    for n, line in enumerate(o["items"], 1):
        items.append(
            {
                "SalesOrderItem": str(n * 10).rjust(6, "0"),
                "Material": need(line["sku"]).strip().upper(),
                "Text": need(line["name"])[:40],
                "RequestedQuantity": Decimal(need(line["qty"])).quantize(MILLI),
                "Unit": line.get("unit") or "EA",
                "Price": Decimal(need(line["price"])).quantize(CENT, ROUND_HALF_UP),
            }
        )
    if items:
        body["to_Item"] = items
    return body


class Interpreter:
    """jmespath.py and Jinja2 called for each field, compiled once, as the obvious engine would."""

    def __init__(self) -> None:
        env = jinja2.Environment()
        self.env = env
        self.paths: dict[str, Any] = {}
        self.exprs: dict[str, Any] = {}

    def path(self, text: str, scope: Any) -> Any:
        if text not in self.paths:
            self.paths[text] = jmespath.compile(text)
        return self.paths[text].search(scope)

    def text(self, text: str, scope: Any) -> str:
        if text not in self.exprs:
            self.exprs[text] = self.env.from_string(text)
        return str(self.exprs[text].render(**scope))

    def calc(self, text: str, scope: Any) -> Any:
        key = "calc " + text
        if key not in self.exprs:
            self.exprs[key] = self.env.compile_expression(text)
        return self.exprs[key](**scope)

    def map(self, o: dict[str, Any]) -> dict[str, Any]:
        scope = {"order": o, "env": ENV, "D": Decimal}
        big = self.calc("D(order.total_amount) > 1000", scope)
        foreign = self.calc("order.billing.country != env.home", scope)
        scope = {**scope, "big": big, "foreign": foreign}
        body: dict[str, Any] = {}
        body["SalesOrderType"] = (
            "ZEXB" if self.calc("big and foreign", scope) else "ZBIG" if self.calc("big", scope) else "OR"
        )
        body["SalesOrganization"] = self.path("env.org", scope)
        body["DistributionChannel"] = "10"
        customer = self.path("order.customer_id", scope)
        body["SoldToParty"] = customer.zfill(10) if customer.isdigit() else customer
        body["PurchaseOrderByCustomer"] = self.text("XC-{{ order.order_id }}", scope)
        at = datetime.fromtimestamp(self.path("order.date", scope), UTC)
        body["SalesOrderDate"] = at.astimezone(NEW_YORK).date().isoformat()
        body["TransactionCurrency"] = self.path("order.currency", scope).upper()
        body["PaymentMethod"] = PAYMENT.get(self.path("order.payment_method", scope), "Z")
        body["Country"] = COUNTRIES[self.path("order.billing.country", scope)]
        body["ShipName"] = self.text("{{ order.shipping.firstname }} {{ order.shipping.lastname }}", scope)
        body["ShipStreet"] = self.path("order.shipping.street", scope)[:35]
        body["ShipCity"] = self.path("order.shipping.city", scope)
        for name, text in (("ShipZip", "order.shipping.zip"), ("Terms", "order.terms")):
            value = self.path(text, scope)
            if value:
                body[name] = value
        items = []
        for n, line in enumerate(self.path("order.items", scope) or [], 1):
            inner = {**scope, "line": line, "n": n}
            items.append(
                {
                    "SalesOrderItem": str(self.calc("n * 10", inner)).rjust(6, "0"),
                    "Material": self.path("line.sku", inner).strip().upper(),
                    "Text": self.path("line.name", inner)[:40],
                    "RequestedQuantity": Decimal(self.path("line.qty", inner)).quantize(MILLI),
                    "Unit": self.path("line.unit", inner) or "EA",
                    "Price": Decimal(self.path("line.price", inner)).quantize(CENT, ROUND_HALF_UP),
                }
            )
        body["to_Item"] = items
        return body


JQ = """
def alpha(n): if test("^[0-9]+$") then ("0" * (n - length)) + . else . end;
{SalesOrderType: (if (.total_amount|tonumber) > 1000 and .billing.country != "US" then "ZEXB" elif (.total_amount|tonumber) > 1000 then "ZBIG" else "OR" end),
 SalesOrganization: "1710", DistributionChannel: "10", SoldToParty: (.customer_id | alpha(10)), PurchaseOrderByCustomer: ("XC-" + .order_id),
 SalesOrderDate: (.date - 14400 | todate[:10]), TransactionCurrency: (.currency|ascii_upcase),
 PaymentMethod: ({CC:"D",PP:"E",INV:"Z"}[.payment_method] // "Z"), Country: {US:"US",DE:"DE",NO:"NO",FR:"FR"}[.billing.country],
 ShipName: (.shipping.firstname + " " + .shipping.lastname), ShipStreet: .shipping.street[:35], ShipCity: .shipping.city, ShipZip: .shipping.zip,
 to_Item: [.items | to_entries[] | {SalesOrderItem: ((.key+1)*10|tostring|alpha(6)), Material: (.value.sku|ltrimstr(" ")|rtrimstr(" ")|ascii_upcase),
   Text: .value.name[:40], RequestedQuantity: (.value.qty|tonumber), Unit: (.value.unit // "EA"), Price: (.value.price|tonumber*100|round/100)}]}
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bench")
    (root / "flowrun.yaml").write_text(
        'flowrun: 1\nconnections: { files: { connector: file, root: data } }\nenvironments: { test: { values: { org: "1710", home: US } } }\n'
    )
    (root / "flows").mkdir()
    (root / "flows/bench.yaml").write_text(FLOW)
    with (root / "orders.jsonl").open("w") as out:
        for number in range(20_000):
            out.write(json.dumps(order(number)) + "\n")
    return root


def _loop(work: Callable[[dict[str, Any]], Any]) -> Callable[[Path], float]:
    decode = msgspec.json.Decoder(float_hook=Decimal).decode
    encode = msgspec.json.Encoder(decimal_format="number").encode

    def run(path: Path) -> float:
        begun = time.perf_counter()
        with path.open("rb") as source, (path.parent / "out.jsonl").open("wb") as out:
            for line in source:
                out.write(encode(work(decode(line))) + b"\n")
        return time.perf_counter() - begun

    return run


def _flowrun(root: Path) -> tuple[Callable[[Path], float], Any]:
    from flowrun.cli.map import _map_range
    from flowrun.cli.project import open_flow

    file = str(root / "flows/bench.yaml")
    _, _, _, plan = open_flow(file, "test")

    def run(path: Path) -> float:
        begun = time.perf_counter()
        with (root / "out.jsonl").open("wb") as out:
            problems = _map_range(file, "test", None, path, 0, None, out)
        assert not problems
        return time.perf_counter() - begun

    return run, plan


def test_ratios(bench: Path) -> None:
    path = bench / "orders.jsonl"
    ours, plan = _flowrun(bench)
    interpreter = Interpreter()
    orders = [order(n) for n in range(500)]
    encode = msgspec.json.Encoder(decimal_format="number").encode
    for one in orders:  # the same values everywhere
        body = plan.apply(one).body
        assert encode(body) == encode(by_hand(one)) == encode(interpreter.map(one))
    ways: dict[str, Callable[[Path], float]] = {"flowrun": ours, "by hand": _loop(by_hand)}
    times: dict[str, list[float]] = {name: [] for name in ways}
    slow = _loop(interpreter.map)
    times["interpreter"] = []
    if shutil.which("jq"):
        times["jq"] = []
    for _ in range(5):
        for name, way in ways.items():
            times[name].append(way(path))
        times["interpreter"].append(slow(path))
        if "jq" in times:
            begun = time.perf_counter()
            with (bench / "jq.jsonl").open("wb") as out:
                subprocess.run(["jq", "-c", JQ, str(path)], stdout=out, check=True)
            times["jq"].append(time.perf_counter() - begun)
    middle = {name: statistics.median(found) for name, found in times.items()}
    print(f"\n{'way':<12} {'records/s':>10} {'flowrun is':>12}")
    for name, secs in middle.items():
        print(f"{name:<12} {20_000 / secs:>10,.0f} {secs / middle['flowrun']:>11.2f}x")


def test_explain_costs(bench: Path) -> None:
    _, plan = _flowrun(bench)
    orders = [order(n) for n in range(2000)]
    on, off = [], []
    for _ in range(5):
        begun = time.perf_counter()
        for one in orders:
            plan.apply(one)
        off.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        for one in orders:
            plan.explain(one)
        on.append(time.perf_counter() - begun)
    print(f"\nexplain on costs {statistics.median(on) / statistics.median(off):.2f}x explain off")


def test_workers_and_memory(bench: Path) -> None:
    big = bench / "big.jsonl"
    text = (bench / "orders.jsonl").read_bytes()
    with big.open("wb") as out:
        for _ in range(10):
            out.write(text)
    flow = str(bench / "flows/bench.yaml")
    times: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(5):
        for workers in times:
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-m", "flowrun", "map", flow, "--env", "test", "--input", str(big), "--output",
                            str(bench / f"out{workers}.jsonl"), "--workers", str(workers)], check=True)  # fmt: skip
            times[workers].append(time.perf_counter() - begun)
    assert (bench / "out1.jsonl").read_bytes() == (bench / "out2.jsonl").read_bytes()
    print(f"\ntwo processes are {statistics.median(times[1]) / statistics.median(times[2]):.2f}x one")
    for path, lines in ((bench / "orders.jsonl", 20_000), (big, 200_000)):
        code = (  # VmHWM, because ru_maxrss of a new process remembers its parent
            "import re, pathlib; from flowrun.cli.main import cli; "
            f"cli.main(['map', {flow!r}, '--env', 'test', '--input', {str(path)!r}, '--output', '/dev/null'], standalone_mode=False); "
            "print(re.search(r'VmHWM:\\s+(\\d+)', pathlib.Path('/proc/self/status').read_text()).group(1))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        print(f"{lines:>8} lines: {int(done.stdout.split()[-1]) / 1024:.1f} MiB")
