"""A person at the command line, in this process: what several rooms' tests build their own desk on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import structlog

from flowrun.cli.main import main


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


class Person:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: Any) -> Ended:
        """Types ``flowrun WORDS``."""
        self._capsys.readouterr()
        try:
            with pytest.raises(SystemExit) as ended:
                main([str(word) for word in words])
        finally:
            structlog.reset_defaults()  # a command logs to the stream that it found
        out, err = self._capsys.readouterr()
        assert "Traceback" not in out + err
        return Ended(int(ended.value.code or 0), out, err)
