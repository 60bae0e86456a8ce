"""The command line in processes of its own, over a project that needs no network: rows of a file go into another file."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from flowrun.store import open_store
from flowrun.store.verifying import verify
from tests.file.filekit import connect, rows

PROJECT = """
flowrun: 1
connections:
  files: { connector: file, root: data }
environments:
  test: {}
"""
FLOW = """
flowrun: 1
flow: copy
source: { connection: files, object: in/*.csv, record: row, key: row.id, trigger: { poll: { every: 1m, cursor: row.modified } } }
target: { connection: files, object: out/rows.csv, action: create, idempotency: { key: "{{ row.id }}", find_existing: id } }
map: { id: row.id }
"""
RECORDS = 40


def furnish(tmp_path: Path) -> Path:
    """A project that copies rows from a file into another."""
    (tmp_path / "flows").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "flowrun.yaml").write_text(PROJECT)
    (tmp_path / "flows" / "copy.yaml").write_text(FLOW)
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"id": "{n}"}}\n' for n in range(RECORDS)))
    return tmp_path


def flowrun(root: Path, *words: str, under: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*under, sys.executable, "-m", "flowrun", *words], cwd=root, capture_output=True, text=True, timeout=120
    )


RUN = ("run", "copy", "--input", "rows.jsonl", "--wait", "0")


def ends_well(root: Path) -> None:
    """The next run does the rest: each row is written once, and every record has its outcome."""
    again = flowrun(root, *RUN)
    assert again.returncode == 0, again.stderr
    written = Counter(row["id"] for row in rows(connect(root / "data"), "out/*.csv"))
    assert written == Counter(str(n) for n in range(RECORDS))
    with closing(open_store(root / ".flowrun" / "state-test.db")) as store:
        assert store.counts("copy") == {"confirmed": RECORDS}
        assert verify(store.database) == []


def traced(root: Path, calls: str, what: str) -> tuple[str, ...]:
    """Under strace, with something injected: ``error=EIO:when=3``. Skips where it cannot be."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    tried = subprocess.run(["strace", "-qq", "-e", "trace=none", "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"strace may not trace here: {tried.stderr.strip()}")
    return ("strace", "-f", "-qq", "-o", str(root / "trace"), "-e", f"trace={calls}", "-e", f"inject={calls}:{what}")
