"""Log lines of thousands of steps are of no use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.faults.copying import furnish


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    structlog.configure(processors=[_dropped])
    yield
    structlog.reset_defaults()


def _dropped(logger: object, name: str, event: object) -> str:
    raise structlog.DropEvent


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project of its own for the command line."""
    return furnish(tmp_path)
