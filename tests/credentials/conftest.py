"""A database of each kind, and the system with its token endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowrun.store.database import postgres_url
from tests.credentials.kit import TokenSystem, vault_at


@pytest.fixture
def database_url(store_place: Path | str) -> str:
    return f"sqlite:///{store_place}" if isinstance(store_place, Path) else postgres_url(store_place)


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
