"""Killed while it starts, migrates, writes, moves its log into its file, or ends: the next start works."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, event, text

from flowrun.errors import StoreError
from flowrun.store import migrations, open_store
from flowrun.store.database import HEAD, postgres_url
from flowrun.store.verifying import verify
from tests.conftest import ROOT
from tests.faults.copying import RECORDS, RUN, ends_well, flowrun, traced
from tests.faults.mill import gone, stands_still

OLD = 50  # records of the store that is migrated


def killed_at(root: Path, call: int) -> bool:
    """At a write of SQLite: of the new file, of the log, of what the log holds into the file. False: not so many."""
    told = flowrun(root, *RUN, under=traced(root, "pwrite64", f"signal=KILL:when={call}"))
    if told.returncode == 0:
        return False
    assert "killed by SIGKILL" in (root / "trace").read_text()
    state = root / ".flowrun" / "state-test.db"
    said = {line.split()[1] for line in told.stdout.splitlines() if line.startswith("confirmed  ")}
    with closing(open_store(state)) as store:
        held = {row.key: row.state for row in store.records(flow="copy")}
    assert said <= {key for key, one in held.items() if one == "confirmed"}, "what was said is held"
    assert len(held) in (0, RECORDS)
    with closing(sqlite3.connect(state)) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    ends_well(root)
    return True


@pytest.mark.parametrize("call", [3, 120, 235], ids=["at its start", "at its intake", "at its end"])
def test_killed_at_a_write(root: Path, call: int) -> None:
    assert killed_at(root, call)


@pytest.mark.soak
@pytest.mark.parametrize("call", range(1, 300, 3))
def test_killed_at_any_write(root: Path, call: int) -> None:
    if not killed_at(root, call):
        pytest.skip("a run has fewer writes")


def old_store(place: Path | str) -> str:
    """A store of the first version, as its address for the database's own library."""
    url = f"sqlite:///{place}" if isinstance(place, Path) else postgres_url(place)
    engine = create_engine(url)
    with engine.begin() as tx:
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        config.attributes["connection"] = tx
        command.upgrade(config, "0001")
        rows = [{"key": str(n), "payload": b'{"v":0}'} for n in range(OLD)]
        tx.execute(
            text(
                "INSERT INTO records (flow, key, fingerprint, lane, state, due, attempts, payload, edited, received_at,"
                " changed_at) VALUES ('f', :key, 'p', :key, 'received', 5, 0, :payload, 0, 1, 1)"
            ),
            rows,
        )
    engine.dispose()
    return url


def migrated(place: Path | str, kill_at: int) -> bool:
    """Open it in another process, which is killed at a statement. True when it came to its end before that."""
    child = os.fork()
    if child == 0:
        left = [kill_at]

        def about_to_execute(*_: Any) -> None:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            from sqlalchemy import Engine

            event.listen(Engine, "before_cursor_execute", about_to_execute)
            open_store(place)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return not os.WIFSIGNALED(status)


def killed_while_it_migrates(place: Path | str, step: int) -> None:
    url, kills = old_store(place), 0
    while not migrated(place, 1 + kills * step):
        kills += 1
        engine = create_engine(url)
        with engine.connect() as connection:
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            count = connection.execute(text("SELECT count(*) FROM records")).scalar()
        engine.dispose()
        assert found in ("0001", HEAD) and count == OLD, "untouched or complete"
    assert kills * step > 40
    with closing(open_store(place)) as store:
        assert store.counts("f") == {"received": OLD}
        assert verify(store.database) == []
        assert len(store.lanes.claim("f", 100, "w").rows) == OLD


def test_killed_while_it_migrates(store_place: Path | str) -> None:
    killed_while_it_migrates(store_place, 8)


@pytest.mark.soak
def test_killed_at_any_statement_of_a_migration(store_place: Path | str) -> None:
    killed_while_it_migrates(store_place, 1)


def test_a_second_process_on_the_same_file(tmp_path: Path) -> None:
    """It is refused while the first one lives, also when that one stands still; once it is killed, nothing is stale."""
    place = tmp_path / "s.db"
    code = (
        "import os, signal, sys; from pathlib import Path; from flowrun.store import open_store;"
        "store = open_store(Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGSTOP)"
    )
    first = subprocess.Popen([sys.executable, "-c", code, str(place)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        stands_still(first)
        with pytest.raises(StoreError, match="in use by another flowrun") as told:
            open_store(place)
        assert "PostgreSQL" in told.value.help
    finally:
        gone(first)
    open_store(place).close()
