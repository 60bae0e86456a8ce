"""Real processes that share a database and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flowrun.store.vault import Vault
from tests.credentials.kit import TokenSystem, authorised

ROOT = Path(__file__).parents[2]


def started(count: int, database_url: str, system: TokenSystem, calls: int, *more: str) -> list[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.credentials.worker", database_url, system.base_url, str(calls), *more]
    found = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    for one in found:
        assert one.stdout is not None and one.stdout.readline() == "ready\n"
    return found


def finished(workers: list[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    for one in workers:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    return [json.loads(one.communicate(timeout=120)[0] or "{}") for one in workers]


def test_sixteen_processes_one_expiry_one_refresh(system: TokenSystem, vault: Vault, database_url: str) -> None:
    authorised(vault, system.base_url)
    workers = started(16, database_url, system, 5)
    found = finished(workers)
    assert [one["found"] for one in found] == [[200] * 5] * 16
    assert (system.given, system.bad_token, system.bad_client) == (1, 0, 0)
    assert not any(one["heard"] for one in found)


def test_a_crash_between_answer_and_commit_asks_for_a_person_once(
    system: TokenSystem, vault: Vault, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refresh token was used and the new one died with the process: nobody can renew, and everybody says so."""
    authorised(vault, system.base_url)
    (victim,) = started(1, database_url, system, 1, "die")
    finished([victim])
    assert victim.returncode == 9
    assert system.given == 1
    with vault._database.transaction() as tx:  # the lease of the dead is over
        from sqlalchemy import update

        from flowrun.store.schema import tokens

        tx.execute(update(tokens).values(held_until=0))
    found = finished(started(4, database_url, system, 5))
    errors = [error for one in found for error in one["found"]]
    assert {error[0] for error in errors} == {"AuthFailed"}
    assert all("a renewal was cut short before its answer was stored" in error[1] for error in errors)
    assert all(error[2] == "flowrun connections authorize shop" for error in errors)
    assert [said for one in found for said in one["heard"]] == [["shop", "reauthorise"]]
    assert (system.asked, system.bad_token) == (2, 1), "no storm: one more question, of twenty calls in four processes"
    authorised(vault, system.base_url, refresh=system.refresh)
    (found_again,) = finished(started(1, database_url, system, 1))
    assert found_again["found"] == [200]
