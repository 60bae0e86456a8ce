"""A store that is in use is taken over from every schema since lanes, and none that is newer is touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, func, insert, inspect, select, text
from tests.runner.test_edges import Bench
from tests.store.test_state import fill

import flowrun.store
from flowrun.errors import StoreError
from flowrun.store import open_store
from flowrun.store import schema as t
from flowrun.store.verifying import verify

SCRIPTS = Path(flowrun.store.__file__).parent / "migrations"
FIRST = "0001"  # its records have other columns: see test_store


def config() -> Config:
    found = Config()
    found.set_main_option("script_location", str(SCRIPTS))
    return found


OLDER = sorted(one.revision for one in ScriptDirectory.from_config(config()).walk_revisions())[1:-1]


def url_of(place: Path | str) -> str:
    return f"sqlite:///{place}" if isinstance(place, Path) else place.replace("postgresql://", "postgresql+psycopg://")


def made_at(revision: str, place: Path | str, filled: Path) -> dict[str, int]:
    """A store of that schema with what the current one holds, as far as it had room for it. Returns rows by table."""
    counts = {}
    engine, full = create_engine(url_of(place)), create_engine(url_of(filled))
    with engine.begin() as tx, full.connect() as source:
        made = config()
        made.attributes["connection"] = tx
        command.upgrade(made, revision)
        there = inspect(tx)
        for table in t.metadata.sorted_tables:
            if table.name not in there.get_table_names():
                continue
            names = [column["name"] for column in there.get_columns(table.name)]
            rows = [
                {name: value for name, value in row.items() if name in names}
                for row in source.execute(select(table)).mappings()
            ]
            if rows:
                tx.execute(insert(table), rows)
            counts[table.name] = len(rows)
            serial = next((c.name for c in table.primary_key.columns if c.autoincrement is True), None)
            if serial and rows and tx.dialect.name == "postgresql":
                last = tx.execute(select(func.max(table.c[serial]))).scalar()
                tx.execute(select(func.setval(func.pg_get_serial_sequence(table.name, serial), last)))
    engine.dispose()
    full.dispose()
    return counts


@pytest.mark.parametrize("revision", OLDER)
def test_a_loaded_store_of_an_older_schema_is_taken_over(
    tmp_path: Path, store_place: Path | str, revision: str
) -> None:
    """What it held is there, it is whole, and what waited comes to its end."""
    bench = Bench(tmp_path)
    bench.store.close()
    filled = tmp_path / "filled.db"
    store = open_store(filled)
    fill(store, "orders")
    store.close()
    counts = made_at(revision, store_place, filled)
    assert counts["records"] == 7 and counts["journal"] == 3
    bench.store = open_store(store_place, now=bench.now)
    try:
        with bench.store.transaction() as tx:
            assert compare_metadata(MigrationContext.configure(tx), t.metadata) == []
            for table in t.metadata.sorted_tables:
                if table.name in counts:
                    assert tx.execute(select(func.count()).select_from(table)).scalar() == counts[table.name], (
                        table.name
                    )
        assert verify(bench.store.database) == []
        assert bench.store.cursors.current("orders") == "2026-05-04T10:00:00Z"
        assert bench.store.xrefs.look_up("x", ["1"]) == {"1": "T1"}
        bench.slept += 10 * 365 * 86_400.0
        bench.run({"id": "new", "amount": 1}, wait_secs=3600)
        states = bench.states()
        assert states["superseded"] == 1 and "in_doubt" not in states and "received" not in states, states
        assert sum(states.values()) == 8
    finally:
        bench.store.close()


def test_a_newer_schema_is_refused_in_words_and_not_touched(store_place: Path | str) -> None:
    made = open_store(store_place)
    fill(made)
    with made.transaction() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    made.close()
    for _ in range(2):
        with pytest.raises(StoreError, match=r"written by a newer flowrun \(schema 9999, this one knows") as told:
            open_store(store_place)
        assert "upgrade flowrun" in told.value.help
    engine = create_engine(url_of(store_place))
    with engine.begin() as tx:
        assert tx.execute(text("SELECT count(*) FROM records")).scalar() == 7
        assert tx.execute(text("SELECT version_num FROM alembic_version")).scalar() == "9999"
    engine.dispose()
