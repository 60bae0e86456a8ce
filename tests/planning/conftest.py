"""A desk for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.planning.plankit import Desk


@pytest.fixture
def desk(tmp_path: Path, shop: Any, erp: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Iterator[Desk]:
    made = Desk(tmp_path, shop, erp, monkeypatch, capsys)
    made.remember("customers", "42", "17100001")
    yield made
    structlog.reset_defaults()  # commands send the log to this test's standard error, which is closed after it
