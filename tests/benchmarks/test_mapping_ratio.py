"""Mapping speed as ratios in one run. Run with:

    pytest -m benchmark tests/benchmarks/test_mapping_ratio.py -s

The flow is the shipped one, flows/xcart-s4hana/orders-to-s4.yaml, as it stands: what people run is what is measured, and
nothing about it can be thinned for a benchmark. It has everything a realistic order brings: rules, requirements,
variables with a sum, four tables and a cross-reference, a composite key, partners with nested addresses, conditions,
lines with conditions of their own, a date in a time zone, concatenation, rounding, and SAP's lengths and digits.

The same files of orders go through ``flowrun map`` itself (in this process), a hand-written function with the same JSON
library (mapping_orders.py), the obvious interpreter (mapping_obvious.py), and jq and gojq where they are installed
(mapping_orders.jq). All give the same values, which is asserted. Blocks alternate and CPU time is counted, so that a busy
machine slows all alike. What a command takes for one order, its start, is taken off.
"""

from __future__ import annotations

import gc
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

import mapping_obvious as obvious
import mapping_orders as orders
import msgspec
import pytest
from figures import figure

from flowrun.cli.main import cli
from flowrun.cli.project import open_flow
from flowrun.contract import Shape
from flowrun.lookups import Snapshot
from flowrun.plan import Plan

pytestmark = pytest.mark.benchmark
BLOCK, BLOCKS, ROUNDS = 10_000, 2, 5
WANTED = {"by hand": 0.8, "interpreter": 18, "jq": 6, "gojq": 3}  # times what flowrun takes, at least
Way = Callable[[Path, Path], None]
"""Maps the orders of one file into another."""

decode = msgspec.json.Decoder(float_hook=Decimal).decode
encode = msgspec.json.Encoder(decimal_format="number").encode


def by_record(work: Callable[[dict[str, Any], list[str]], Any], skip: type[Exception]) -> Way:
    def run(source: Path, target: Path) -> None:
        warnings: list[str] = []
        with source.open("rb") as lines, target.open("wb") as out:
            for line in lines:
                try:
                    out.write(encode(work(decode(line), warnings)) + b"\n")
                except skip:
                    continue

    return run


@pytest.fixture(scope="module")
def plan() -> Plan:
    return open_flow(str(orders.FLOW), "test")[3]


@pytest.fixture(scope="module")
def xref(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("xref") / "xref.json"
    path.write_text(json.dumps({"customers": orders.CUSTOMERS}))
    return path


def arguments(source: Path, target: Path | str, xref: Path, *more: str) -> list[str]:
    files = ["--input", str(source), "--output", str(target), "--xref", str(xref)]
    return ["map", str(orders.FLOW), "--env", "test", *files, *more]


def flowrun(xref: Path) -> Way:
    def run(source: Path, target: Path) -> None:
        assert not cli.main(arguments(source, target, xref), standalone_mode=False)

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

    def run(source: Path, target: Path) -> None:
        with target.open("wb") as out:
            subprocess.run([*command, code, str(source)], stdout=out, env={**os.environ, "TZ": "America/New_York"}, check=True)  # fmt: skip

    return run


def cpu(way: Way, source: Path, target: Path) -> float:
    """Seconds of processor, of this process and of those it waited for."""

    def now() -> float:
        ours, theirs = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        return ours.ru_utime + ours.ru_stime + theirs.ru_utime + theirs.ru_stime

    begun = now()
    way(source, target)
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


def test_ratios(plan: Plan, xref: Path, tmp_path: Path) -> None:
    every = [json.dumps(order).encode() + b"\n" for order in orders.orders(BLOCK * BLOCKS)]
    print(f"\none order has {sum(map(len, every)) / len(every):,.0f} bytes")
    sources = [tmp_path / f"{number}.jsonl" for number in range(BLOCKS)]
    for number, source in enumerate(sources):
        source.write_bytes(b"".join(every[number * BLOCK : (number + 1) * BLOCK]))
    one = tmp_path / "one.jsonl"
    one.write_bytes(every[0])
    ways: dict[str, Way] = {
        "flowrun": flowrun(xref), "by hand": by_record(orders.by_hand, orders.Skip), "interpreter": interpreter(plan),
        **{name: jq(name, tmp_path) for name in ("jq", "gojq") if shutil.which(name)},
    }  # fmt: skip
    made = {name: tmp_path / f"{name}.out" for name in ways}
    for source in sources:
        different = dict.fromkeys(ways, 0)
        for name, way in ways.items():
            way(source, made[name])
        ours = [json.loads(line) for line in made["flowrun"].read_bytes().splitlines()]
        assert len(ours) == BLOCK
        for name in ways:
            if "jq" not in name:
                assert made[name].read_bytes() == made["flowrun"].read_bytes(), name
                continue
            theirs = [json.loads(line) for line in made[name].read_bytes().splitlines()]
            assert all(near(a, b) for a, b in zip(ours, theirs, strict=True)), name
            different[name] = sum(a != b for a, b in zip(ours, theirs, strict=True))
    for name in ("jq", "gojq"):
        if name in ways:
            print(
                f"{name}: {different[name]} of {BLOCK} orders differ by a cent somewhere, because it counts in floats"
            )
    del ours, theirs, every
    gc.collect()
    gc.freeze()  # what this test holds is not looked through again in what is timed
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for source in sources:
            for name, way in ways.items():
                took[name].append(cpu(way, source, made[name]) - cpu(way, one, made[name]))
    print(f"flowrun maps {BLOCK / statistics.median(took['flowrun']):,.0f} records a second", end="")
    for name, secs in took.items():
        if name in WANTED:  # ratios turn by turn, since the machine is not equally fast in all of them
            ratio = statistics.median(theirs / ours for theirs, ours in zip(secs, took["flowrun"], strict=True))
            figure(f"mapping, {name} / flowrun", ratio, least=WANTED[name])


def test_explain_costs(plan: Plan) -> None:
    given, known = list(orders.orders(500)), Snapshot(closed=True)
    known.add("customers", orders.CUSTOMERS)
    on, off = [], []
    for _ in range(9):
        for found, work in ((off, plan.apply), (on, plan.explain)):
            begun = time.process_time()
            for order in given:
                work(order, known)
            found.append(time.process_time() - begun)
    ratio = statistics.median(on) / statistics.median(off)
    figure("explain on / explain off", ratio, most=5)


# -- the command as a process --------------------------------------------------------------------------------------


def written(path: Path, count: int) -> Path:
    """A file of so many orders, streamed: twenty thousand different ones, again and again."""
    some = [json.dumps(order).encode() + b"\n" for order in orders.orders(min(count, 20_000))]

    def lines() -> Iterator[bytes]:
        for number in range(count):
            yield some[number % len(some)]

    with path.open("wb") as out:
        out.writelines(lines())
    return path


def beside_each_other() -> float:
    """How much two busy processes get of this machine, in times of what one gets: 2 when nobody else wants it."""

    def busy() -> float:
        begun = time.perf_counter()
        sum(range(8_000_000))
        return time.perf_counter() - begun

    alone = min(busy() for _ in range(3))
    begun = time.perf_counter()
    child = os.fork()
    if not child:
        busy()
        os._exit(0)
    busy()
    os.waitpid(child, 0)
    return 2 * alone / (time.perf_counter() - begun)


def test_two_workers(tmp_path: Path, xref: Path) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one processor")
    source = written(tmp_path / "orders.jsonl", 200_000)
    times: dict[int, list[float]] = {1: [], 2: []}
    room = []
    for _ in range(6):
        room.append(beside_each_other())
        for workers in times:
            begun = time.perf_counter()
            out = tmp_path / f"out{workers}.jsonl"
            command = arguments(source, out, xref, "--workers", str(workers))
            subprocess.run([sys.executable, "-m", "flowrun", *command], check=True, stderr=subprocess.DEVNULL)
            times[workers].append(time.perf_counter() - begun)
    assert (tmp_path / "out1.jsonl").read_bytes() == (tmp_path / "out2.jsonl").read_bytes()
    ratio = min(times[1]) / min(times[2])  # the least: wall time, and others may want the processors
    figure(f"two processes / one (two busy loops: {statistics.median(room):.2f})", ratio, least=1.6)


def test_memory_is_flat(tmp_path: Path, xref: Path) -> None:
    peaks = []
    for count in (10_000, 1_000_000):
        source = written(tmp_path / "orders.jsonl", count)
        code = (  # VmHWM, because ru_maxrss of a new process remembers its parent
            "import re, pathlib; from flowrun.cli.main import cli; "
            f"cli.main({arguments(source, os.devnull, xref)!r}, standalone_mode=False); "
            "print(re.search(r'VmHWM:\\s+(\\d+)', pathlib.Path('/proc/self/status').read_text()).group(1))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]) / 1024)
        figure(f"MiB for {count:,} lines", peaks[-1], most=64)
    assert peaks[1] - peaks[0] < 8, "a million lines take the memory of ten thousand"
