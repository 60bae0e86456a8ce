"""A desk for each test, with its store on either database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.reconcile.desk import Desk


@pytest.fixture
def plain(tmp_path: Path, shop: Any, erp: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Iterator[Desk]:
    """With its store in a file."""
    made = Desk(tmp_path, shop, erp, monkeypatch, capsys)
    with made.ledger.running():
        yield made
    structlog.reset_defaults()  # commands send the log to this test's standard error, which is closed after it


@pytest.fixture(params=["sqlite", "postgres"])
def desk(
    plain: Desk, request: pytest.FixtureRequest, postgres: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> Desk:
    if request.param == "postgres":
        plain.place_ = postgres()
        monkeypatch.setenv("FLOWRUN_STORE", plain.place_)
    plain.remember("customers", "42", "17100001")
    return plain
