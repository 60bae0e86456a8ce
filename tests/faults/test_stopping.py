"""Told to end, a process finishes what it is sending and gives the rest back; told twice, it is gone at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from flowrun.store import Store, open_store
from flowrun.testing.faults import Faults
from tests.faults.mill import FLOW, Mill, finished
from tests.runner.test_edges import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.store.close()


def held(store: Store) -> int:
    with store.transaction() as tx:
        return int(tx.execute(text("SELECT count(*) FROM lanes WHERE worker IS NOT NULL")).scalar_one())


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("flow", ["orders", "stock"])
def test_no_call_begins_any_more(bench: Bench, flow: str, workers: int) -> None:
    """stock goes in batches of eight."""
    stopping, records = threading.Event(), [{"id": str(n), "amount": n} for n in range(100)]

    def script(body: Any) -> Any:
        if len(bench.target.calls) >= 5:
            stopping.set()

    bench.target.script = script
    begun = time.monotonic()
    summary = bench.run(*records, flow=flow, stopping=stopping, workers=workers)
    assert len(bench.target.calls) <= 4 + workers
    sent = sum(len(call) for call in bench.target.calls)
    assert bench.states(flow) == {"confirmed": sent, "received": 100 - sent}, "nothing is in doubt"
    assert summary.waiting == 100 - sent and held(bench.store) == 0
    bench.run(*records, flow=flow)
    assert bench.states(flow) == {"confirmed": 100}
    assert sum(len(call) for call in bench.target.calls) == 100 and time.monotonic() - begun < 30


def test_nothing_is_taken_in_any_more(bench: Bench) -> None:
    stopping = threading.Event()

    def records() -> Iterator[Any]:
        for n in range(2000):
            if n == 600:
                stopping.set()
            yield {"id": str(n), "amount": n}

    summary = bench.run(records=records(), stopping=stopping)
    assert 256 <= summary.received < 2000 and bench.target.calls == []


def test_a_worker_that_breaks_ends_the_others(bench: Bench) -> None:
    """Also by Ctrl-C: nobody waits until the others have done everything."""

    def script(body: Any) -> Any:
        if len(bench.target.calls) == 5:
            raise KeyboardInterrupt

    bench.target.script = script
    with pytest.raises(KeyboardInterrupt):
        bench.run(*({"id": str(n), "amount": n} for n in range(300)), workers=2)
    assert len(bench.target.calls) < 100


def test_a_process_is_told_to_end(project: Path, store_place: Path | str, erp: Any, shop: Any) -> None:
    mill = Mill(project, store_place, erp, shop, 60)
    erp.mangle = _slowly
    child = mill.start()
    mill.reached(5)
    begun, before = time.monotonic(), len(erp.orders)
    child.send_signal(signal.SIGTERM)
    told = finished(child)
    erp.mangle = None
    assert time.monotonic() - begun < 10, "within the grace that is usual"
    placed = len(erp.orders)
    assert placed <= before + 2, "the call under way, and one that was beginning"
    assert told["confirmed"] == placed < 60
    with closing(open_store(store_place)) as store:
        assert store.counts(FLOW) == {"confirmed": placed, "received": 60 - placed} and held(store) == 0
    finished(mill.start())
    mill.all_once()
    assert mill.looked_up() == []


def _slowly(request: Any, response: Any) -> Any:
    time.sleep(0.2)
    return response


def test_a_process_is_told_twice(project: Path, erp: Any, shop: Any) -> None:
    """While the target holds its answer back. The rest is as after a kill."""
    mill = Mill(project, project / "s.db", erp, shop, 6, lanes=1, lease=2.0)
    erp.faults = Faults.parse("timeout_after*;only=writes;hang=60")
    child = mill.start()
    mill.reached(1)
    child.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.5)
    child.send_signal(signal.SIGTERM)
    assert child.wait(5) == -signal.SIGTERM
    child.communicate()
    erp.faults = Faults()
    finished(mill.start())
    mill.all_once()


def test_a_command_is_told_to_end(project: Path) -> None:
    rows = project / "rows.jsonl"
    rows.write_text("".join(f'{{"id": "{n}"}}\n' for n in range(20_000)))
    (project / "flows" / "copy.yaml").write_text(
        "flowrun: 1\nflow: copy\nsource: { connection: files, object: in/*.csv, record: row, key: row.id, "
        "trigger: { poll: { every: 1m, cursor: row.modified } } }\nmap: { id: row.id }\n"
        'target: { connection: files, object: out/rows.csv, action: create, idempotency: { key: "{{ row.id }}", find_existing: id } }\n'
    )
    settings = project / "flowrun.yaml"
    settings.write_text(
        settings.read_text().replace("connections:", "connections:\n  files: { connector: file, root: . }")
    )
    command = [sys.executable, "-m", "flowrun", "run", "copy", "--env", "test", "--input", "rows.jsonl"]
    child = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline().startswith("confirmed")
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0 and "Traceback" not in err
    assert "stopping" in err and "stopped before its end" in out
    with closing(open_store(project / ".flowrun" / "state-test.db")) as store:
        states = store.counts("copy")
        assert set(states) == {"confirmed", "received"} and held(store) == 0
