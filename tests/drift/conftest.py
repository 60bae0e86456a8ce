from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.drift.kit import Desk


@pytest.fixture
def desk(project: Path, store_place: Path | str, monkeypatch: Any, capsys: Any) -> Desk:
    for name in [*os.environ]:
        if name.startswith("FLOWRUN_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FLOWRUN_STORE", str(store_place))
    monkeypatch.chdir(project)
    return Desk(project, store_place, capsys)
