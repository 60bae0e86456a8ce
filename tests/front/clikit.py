"""Commands in the shipped project as a person calls them, in this process: (exit code, output, errors)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import structlog

from flowrun.cli.main import main
from flowrun.connector import discover
from flowrun.flow import load_flow
from flowrun.project import load_project
from flowrun.store import open_store
from flowrun.values import encode_json, system_clock

FLOW = "xcart-orders-to-s4"


class Shell:
    """``shell("validate", "--strict")`` in the folder ``root``."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self._capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        self._capsys.readouterr()
        try:
            with pytest.raises(SystemExit) as stopped:
                main(list(words))
        finally:
            structlog.reset_defaults()  # a command writes its log to the standard error of this one test
        out, err = self._capsys.readouterr()
        assert "Traceback" not in err
        return int(stopped.value.code or 0), out, err

    def orders(self, *ids: int, **more: Any) -> str:
        """A file of orders like the first one of the flow's own tests; its name."""
        first = load_flow(FLOW, load_project(self.root), discover()).tests[0].given["order"]
        with (self.root / "orders.jsonl").open("wb") as out:
            for number in ids:
                out.write(encode_json({**copy.deepcopy(first), "order_id": str(number), **more}) + b"\n")
        return "orders.jsonl"

    def store(self, env: str = "dev") -> Path:
        return self.root / ".flowrun" / f"state-{env}.db"

    def know(self, customer: str, partner: str, env: str = "dev") -> None:
        """A cross-reference in the store, as a flow that syncs customers leaves it."""
        store = open_store(self.store(env), now=system_clock)
        try:
            store.xrefs.put([("customers", customer, partner)], "tester")
        finally:
            store.close()
