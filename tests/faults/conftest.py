"""Log lines of thousands of steps are of no use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    structlog.configure(processors=[_dropped])
    yield
    structlog.reset_defaults()


def _dropped(logger: object, name: str, event: object) -> str:
    raise structlog.DropEvent
