"""Mapping speed as ratios in one run. Run with:

    pytest -m benchmark tests/benchmarks/test_mapping_ratio.py -s

The flow is the shipped one, flows/xcart-s4hana/orders-to-s4.yaml, as it stands: what people run is what is measured, and
nothing about it can be thinned for a benchmark. It has everything a realistic order brings: rules, requirements,
variables with a sum, four tables and a cross-reference, a composite key, partners with nested addresses, conditions,
lines with conditions of their own, a date in a time zone, concatenation, rounding, and SAP's lengths and digits.

The same orders go through flowrun's own loop (``flowrun map`` in one process), a hand-written function with the same
JSON library (mapping_orders.py), the obvious interpreter (mapping_obvious.py), and jq and gojq where they are installed (mapping_orders.jq).
All give the same values, which is asserted. Blocks of 2,000 orders alternate and CPU time is counted, so that a busy
machine slows all alike.
"""

from __future__ import annotations

import io
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flowrun.cli.mapping import map_lines
from flowrun.cli.project import open_flow
from flowrun.contract import Shape
from flowrun.lookups import Snapshot
from flowrun.plan import Plan

import mapping_obvious as obvious
import mapping_orders as orders

pytestmark = pytest.mark.benchmark
BLOCK, BLOCKS, ROUNDS = 2_000, 5, 4
Lines = list[bytes]
Way = Callable[[Lines], bytes]

decode = msgspec.json.Decoder(float_hook=Decimal).decode
encode = msgspec.json.Encoder(decimal_format="number").encode


def by_record(work: Callable[[dict[str, Any], list[str]], Any], skip: type[Exception]) -> Way:
    def run(lines: Lines) -> bytes:
        warnings: list[str] = []
        made = []
        for line in lines:
            try:
                made.append(encode(work(decode(line), warnings)))
            except skip:
                continue
        made.append(b"")
        return b"\n".join(made)

    return run


@pytest.fixture(scope="module")
def plan() -> Plan:
    return open_flow(str(orders.FLOW), "test")[3]


def snapshot() -> Snapshot:
    held = Snapshot(closed=True)
    held.add("customers", orders.CUSTOMERS)
    return held


def flowrun(plan: Plan) -> Way:
    known = snapshot()

    def run(lines: Lines) -> bytes:
        out = io.BytesIO()
        tally = map_lines(plan, known, [lines], out, lambda problems: None)
        assert not tally.failed
        return out.getvalue()

    return run


def lengths(shape: Shape, path: str = "") -> Iterator[tuple[str, int]]:
    """What the contract says of each text field: (path, characters at most)."""
    for field in shape.fields.values():
        here = f"{path}.{field.name}" if path else field.name
        if field.max_length is not None:
            yield here, field.max_length
        inner = field.item.shape if field.item is not None else field.shape
        if inner is not None:
            yield from lengths(inner, here)


def interpreter(plan: Plan) -> Way:
    tables: dict[str, dict[Any, str]] = {
        "countries": orders.COUNTRIES, "payment": orders.PAYMENT, "customers": orders.CUSTOMERS, "plants": orders.PLANTS,
        "units": orders.UNITS,
    }  # fmt: skip
    shape = plan.flow.target.shape
    assert shape is not None
    engine = obvious.Interpreter(orders.FLOW.read_text(encoding="utf-8"), orders.ENV, tables, dict(lengths(shape)))
    return by_record(engine.map, obvious.Skip)


def jq(program: str, folder: Path) -> Way:
    """A new process for each call, whose start is taken off by the caller."""
    tables = {
        "env": orders.ENV, "countries": orders.COUNTRIES, "payment": orders.PAYMENT, "customers": orders.CUSTOMERS,
        "plants": {",".join(key): row for key, row in orders.PLANTS.items()}, "units": orders.UNITS,
    }  # fmt: skip
    (folder / "tables.json").write_text(json.dumps(tables))
    code = (Path(__file__).parent / "mapping_orders.jq").read_text()
    command = [program, "-c", "--argfile" if program == "jq" else "--slurpfile", "t", str(folder / "tables.json")]
    if program == "gojq":
        code = code.replace("$t.", "$t[0].")

    def run(lines: Lines) -> bytes:
        given = b"\n".join(lines)
        done = subprocess.run([*command, code], input=given, capture_output=True, env={**os.environ, "TZ": "America/New_York"}, check=True)  # fmt: skip
        return done.stdout

    return run


def cpu(way: Way, lines: Lines) -> float:
    """Seconds of processor, of this process and of those it waited for."""

    def now() -> float:
        ours, theirs = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        return ours.ru_utime + ours.ru_stime + theirs.ru_utime + theirs.ru_stime

    begun = now()
    way(lines)
    return now() - begun


def near(a: Any, b: Any) -> bool:
    """Equal, but for a cent that a binary float rounds the other way."""
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(near(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(near, a, b))
    if a != b and re.fullmatch(r"-?\d+\.\d+", f"{a}") and re.fullmatch(r"-?\d+\.\d+", f"{b}"):
        return len(a) == len(b) and abs(Decimal(a) - Decimal(b)) <= Decimal("0.01")
    return bool(a == b)


def test_ratios(plan: Plan, tmp_path: Path) -> None:
    every = [json.dumps(order).encode() for order in orders.orders(BLOCK * BLOCKS)]
    print(f"\none order has {sum(map(len, every)) / len(every):,.0f} bytes")
    blocks = [every[at : at + BLOCK] for at in range(0, len(every), BLOCK)]
    ways: dict[str, Way] = {
        "flowrun": flowrun(plan), "by hand": by_record(orders.by_hand, orders.Skip), "interpreter": interpreter(plan),
    }  # fmt: skip
    wanted = ways["flowrun"](every)
    assert wanted.count(b"\n") == len(every)
    assert ways["by hand"](every) == wanted
    assert ways["interpreter"](every) == wanted
    others = {name: jq(name, tmp_path) for name in ("jq", "gojq") if shutil.which(name)}
    for name, way in others.items():
        theirs = [json.loads(line) for line in way(every).splitlines()]
        ours = [json.loads(line) for line in wanted.splitlines()]
        different = sum(a != b for a, b in zip(ours, theirs, strict=True))
        assert all(map(near, ours, theirs)), name
        print(f"{name}: {different} of {len(ours)} orders differ by a cent somewhere, because it counts in floats")
    times: dict[str, list[float]] = {name: [] for name in (*ways, *others)}
    for _ in range(ROUNDS):
        for block in blocks:
            for name, way in ways.items():
                times[name].append(cpu(way, block))
        for name, way in others.items():
            start = cpu(way, every[:1])
            times[name].append((cpu(way, every) - start) / BLOCKS)
    middle = {name: statistics.median(found) for name, found in times.items()}
    ratio = {name: secs / middle["flowrun"] for name, secs in middle.items()}
    print(f"{'way':<12} {'records/s':>10} {'flowrun is':>12}")
    for name, secs in middle.items():
        print(f"{name:<12} {BLOCK / secs:>10,.0f} {ratio[name]:>11.2f}x")
    assert ratio["by hand"] >= 0.8
    assert ratio["interpreter"] >= 18
    assert ratio.get("jq", 6) >= 6
    assert ratio.get("gojq", 3) >= 3


def test_explain_costs(plan: Plan) -> None:
    given, known = list(orders.orders(500)), snapshot()
    on, off = [], []
    for _ in range(9):
        for found, work in ((off, plan.apply), (on, plan.explain)):
            begun = time.process_time()
            for order in given:
                work(order, known)
            found.append(time.process_time() - begun)
    ratio = statistics.median(on) / statistics.median(off)
    print(f"\nexplain on costs {ratio:.2f}x explain off")
    assert ratio <= 5


# -- the command itself ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def xref(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("xref") / "xref.json"
    path.write_text(json.dumps({"customers": orders.CUSTOMERS}))
    return path


def written(path: Path, count: int) -> Path:
    """A file of so many orders, streamed: twenty thousand different ones, again and again."""
    some = [json.dumps(order).encode() + b"\n" for order in orders.orders(min(count, 20_000))]

    def lines() -> Iterator[bytes]:
        for number in range(count):
            yield some[number % len(some)]

    with path.open("wb") as out:
        out.writelines(lines())
    return path


def arguments(source: Path, xref: Path, *more: str) -> list[str]:
    return ["map", str(orders.FLOW), "--env", "test", "--xref", str(xref), "--input", str(source), *more]


def test_two_workers(tmp_path: Path, xref: Path) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one processor")
    source = written(tmp_path / "orders.jsonl", 200_000)
    times: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(5):
        for workers in times:
            begun = time.perf_counter()
            out = tmp_path / f"out{workers}.jsonl"
            command = arguments(source, xref, "--output", str(out), "--workers", str(workers))
            subprocess.run([sys.executable, "-m", "flowrun", *command], check=True, stderr=subprocess.DEVNULL)
            times[workers].append(time.perf_counter() - begun)
    assert (tmp_path / "out1.jsonl").read_bytes() == (tmp_path / "out2.jsonl").read_bytes()
    ratio = min(times[1]) / min(times[2])  # the least: wall time, and others may want the processors
    print(f"\ntwo processes are {ratio:.2f}x one")
    assert ratio >= 1.6


def test_memory_is_flat(tmp_path: Path, xref: Path) -> None:
    peaks = []
    for count in (10_000, 1_000_000):
        source = written(tmp_path / "orders.jsonl", count)
        code = (  # VmHWM, because ru_maxrss of a new process remembers its parent
            "import re, pathlib; from flowrun.cli.main import cli; "
            f"cli.main({arguments(source, xref, '--output', os.devnull)!r}, standalone_mode=False); "
            "print(re.search(r'VmHWM:\\s+(\\d+)', pathlib.Path('/proc/self/status').read_text()).group(1))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]) / 1024)
        print(f"\n{count:>9,} lines: {peaks[-1]:.1f} MiB", end="")
    print()
    assert peaks[1] < 64
    assert peaks[1] - peaks[0] < 4, "a million lines take the memory of ten thousand"
