"""Every code has a page, a case and a golden message; each case finds exactly what it says."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest
from casekit import CASES, GOLDEN, facts, read_case, run_case, shown

from flowrun.codes import CODES

PATHS = sorted(CASES.glob("*.yaml"))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_case(path: Path, tmp_path: Path) -> None:
    case = read_case(path)
    checked, found = run_case(case, tmp_path)
    assert [facts(d) for d in found] == case.expect
    text = click.unstyle(shown(checked, found))
    golden = GOLDEN / f"{path.stem}.txt"
    if os.environ.get("FLOWRUN_UPDATE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


def test_every_code_has_a_case() -> None:
    shown = {one["code"] for path in PATHS for one in read_case(path).expect}
    assert set(CODES) - shown == set()
    assert shown - set(CODES) == set()


def test_every_page_says_something() -> None:
    for code, page in CODES.items():
        assert page.title and page.title[-1] != ".", code
        assert page.text.endswith((".", "?")), code


def test_no_golden_without_a_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == {path.stem for path in PATHS}


@pytest.mark.parametrize("name", ["orders", "stock", "small", "steps"])
def test_a_good_flow_has_no_findings_but_coverage(name: str, tmp_path: Path) -> None:
    case = read_case(CASES / "FR188-a-field-no-test-looks-at.yaml")
    from casekit import GOOD

    good = type(case)(case.path, name, (GOOD / f"{name}.yaml").read_text(encoding="utf-8"), [])
    checked, found = run_case(good, tmp_path)
    assert found == []
    assert len(checked.flows) == 1
