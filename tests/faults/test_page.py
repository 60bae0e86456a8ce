"""docs/faults.md names tests that are there, and each case once."""

from __future__ import annotations

import re

from tests.conftest import ROOT

PAGE = ROOT / "docs" / "faults.md"


def test_each_proof_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE.read_text())
    assert len(named) > 40
    gone = [f"{file}::{name}" for file, name in named if f"def {name}(" not in (ROOT / file).read_text()]
    assert gone == []


def test_each_case_stands_once_and_in_order() -> None:
    cases = [int(number) for number in re.findall(r"^\| (\d+) \|", PAGE.read_text(), re.MULTILINE)]
    assert len(cases) == len(set(cases))
    for part in PAGE.read_text().split("\n## "):
        found = [int(number) for number in re.findall(r"^\| (\d+) \|", part, re.MULTILINE)]
        assert found == sorted(found)
