"""The disk fails under the store's file: it does not write through, or is full."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flowrun.store import open_store
from tests.faults.copying import RECORDS, RUN, ends_well, flowrun, traced


def disk_fails_at(root: Path, call: int) -> bool:
    """False when there are not so many calls in a run. (Nothing but SQLite calls fdatasync.)"""
    told = flowrun(root, *RUN, under=traced(root, "fdatasync", f"error=EIO:when={call}"))
    if "INJECTED" not in (root / "trace").read_text():
        assert told.returncode == 0, told.stderr
        return False
    assert "Traceback" not in told.stderr
    if told.returncode:  # SQLite bears some, such as that of a folder
        assert told.returncode == 4, told.stderr
        assert "disk I/O error" in told.stderr and "system's log" in told.stderr.partition("help: ")[2]
    state = root / ".flowrun" / "state-test.db"
    with closing(sqlite3.connect(state)) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    said = {line.split()[1] for line in told.stdout.splitlines() if line.startswith("confirmed  ")}
    with closing(open_store(state)) as store:
        held = {row.key: row.state for row in store.records(flow="copy")}
    assert said <= {key for key, one in held.items() if one == "confirmed"}, "what was said is held"
    assert len(held) in (0, RECORDS), "all of a page or nothing"
    ends_well(root)
    return True


@pytest.mark.parametrize("call", [8, 12])
def test_the_disk_does_not_write_through(root: Path, call: int) -> None:
    assert disk_fails_at(root, call)


@pytest.mark.soak
@pytest.mark.parametrize("call", range(1, 51))
def test_the_disk_does_not_write_through_at_any_call(root: Path, call: int) -> None:
    if not disk_fails_at(root, call):
        pytest.skip("a run has fewer calls")


@pytest.fixture
def small_disk(root: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """A disk of 32 MB that only who goes there sees: its folder, and the command that goes there."""
    disk, mine = root / "disk", "-m" if os.getuid() == 0 else "-rm"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=32m tmpfs '{disk}' && echo ready && exec sleep 600"
    try:
        holder = subprocess.Popen(["unshare", mine, "sh", "-c", mount], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except FileNotFoundError:
        pytest.skip("there is no unshare")
    try:
        assert holder.stdout is not None and holder.stderr is not None
        if holder.stdout.readline() != b"ready\n":
            pytest.skip(f"nothing may be mounted here: {holder.stderr.read().decode().strip()}")
        into = ("-U", "--preserve-credentials") if mine == "-rm" else ()
        yield (
            disk,
            (
                "nsenter",
                "-t",
                str(holder.pid),
                "-m",
                *into,
                "env",
                "-C",
                str(root),
                f"FLOWRUN_STORE={disk / 'state.db'}",
            ),
        )
    finally:
        holder.kill()
        holder.communicate()


def test_a_full_disk(root: Path, small_disk: tuple[Path, tuple[str, ...]]) -> None:
    """First nothing new is taken in, then nothing at all works but to look and to make room; then it goes on."""
    disk, there = small_disk

    def fill(size: str) -> None:
        subprocess.run([*there, "sh", "-c", f"head -c {size} /dev/zero >> '{disk}/other'"], capture_output=True)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        told = flowrun(root, *words, under=there)
        assert "Traceback" not in told.stderr
        return told

    def held() -> Any:
        (flow,) = json.loads(run("state", "show", "--format", "json").stdout)["flows"]
        return flow["records"]

    assert run(*RUN).returncode == 0
    (root / "rows.jsonl").write_text("".join(f'{{"id": "m{n}"}}\n' for n in range(RECORDS)))
    fill("14M")
    refused = run(*RUN)
    assert refused.returncode == 4 and "nothing new is taken in" in refused.stderr and "prune" in refused.stderr
    fill("32M")
    full = run(*RUN)
    assert full.returncode == 4 and "full" in full.stderr and "prune" in full.stderr
    assert held() == {"confirmed": RECORDS}
    pruned = run("state", "prune", "--older-than", "0s")
    assert pruned.returncode == 0 and f"took out {RECORDS} records" in pruned.stdout, pruned.stderr
    subprocess.run([*there, "rm", str(disk / "other")], check=True)
    again = run(*RUN)
    assert again.returncode == 0, again.stderr
    assert held() == {"confirmed": RECORDS}
    subprocess.run([*there, "test", "-s", f"{disk}/state.db.ballast"], check=True)
