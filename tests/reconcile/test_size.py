"""However many records: memory stays where it is."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT
from tests.reconcile.desk import Desk


def many(desk: Desk, records: int) -> tuple[float, str]:
    """(megabytes at most, the line of totals)."""
    command = [sys.executable, "-m", "tests.reconcile.many", str(desk.root), str(records)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert ended.returncode == 0, ended.stderr
    _, megabytes, line = ended.stdout.strip().split(" ", 2)
    return float(megabytes), line


def test_a_hundred_thousand_in_the_memory_of_two_thousand(plain: Desk) -> None:
    plain.use_ledger()
    few, line = many(plain, 2_000)
    assert (
        line
        == "2,000 orders, 20,200.00 USD in xcart; 2,000 orders, 20,200.02 USD in ledger; missing: 0; different: 1; extra: extra"
    )
    lots, line = many(plain, 100_000)
    assert line.endswith(
        "missing: 0, 10000, 20000, 30000, 40000 and 5 more; different: 90001, 80001, 70001, 60001, 50001 and 5 more; extra: extra"
    )
    assert lots - few < 15, (few, lots)  # the records alone are 50 MB and more
