"""Converters of a project: an installed package declares them, flowrun.yaml lists them, flows use them."""

from __future__ import annotations

import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import pytest

from flowrun.cli.main import main
from flowrun.connector import discover
from flowrun.converters import converter, failures, own_converters
from flowrun.errors import DataError, ProjectError
from flowrun.flow import check_project
from flowrun.flow.schema import flow_schema
from flowrun.plan import Mapped, Rejected, compile_plan
from flowrun.project import load_project

MODULE = '''
from datetime import UTC, date, datetime
from decimal import Decimal
from flowrun.converters import converter

@converter(takes="text", gives="text", examples=[("4006381333931", "04006381333931"), ("1", "5", "00001")])
def gtin14(value: str, width: str = "14") -> str:
    """a GTIN with all its digits"""
    if not value.isdigit():
        raise ValueError(f"{value} is no GTIN")
    return value.zfill(int(width))

@converter(takes="decimal", gives="decimal", examples=[("2", Decimal("4"))])
def doubled(value: Decimal) -> Decimal:
    """twice the number"""
    return value * 2

@converter(takes="text", gives="any", examples=[("x", None)])
def nothing(value: str) -> object:
    """no value; or a day"""
    return date(2026, 5, 4) if value == "day" else None

@converter(takes="decimal", gives="decimal", examples=[("0", None)])
def unless_zero(value: Decimal) -> Decimal | None:
    """no value for zero"""
    return value or None

@converter(takes="text", gives="date", examples=[("x", None)])
def moment(value: str) -> object:
    """a moment, where a day is declared"""
    return datetime(2026, 5, 4, 10, tzinfo=UTC) if value == "now" else None

CALLS = []

@converter(takes="text", gives="integer", examples=[("a", 0)])
def counting(value: str) -> int:
    """how often it was asked"""
    CALLS.extend(value.strip("a"))
    return len(CALLS)

@converter(takes="any", gives="decimal", examples=[(1, Decimal("1.5"))])
def floats(value: object) -> object:
    """declares what it does not give"""
    return 1.5

@converter(takes="list", gives="integer", examples=[([1], 1)])
def breaks(value: list) -> int:
    """raises what is no ValueError"""
    return value["x"]

def undeclared(value: str) -> str:
    return value
'''
POINTS = """[flowrun.converters]
gtin14 = own_of_test:gtin14
doubled = own_of_test:doubled
nothing = own_of_test:nothing
unless_zero = own_of_test:unless_zero
moment = own_of_test:moment
counting = own_of_test:counting
floats = own_of_test:floats
breaks = own_of_test:breaks
undeclared = own_of_test:undeclared
absent = own_of_test:absent
never_listed = a_module_that_is_not_there:x
"""
PROJECT = """flowrun: 1
converters: [gtin14, doubled, nothing, unless_zero, moment, counting, floats, breaks]
connections: { files: { connector: file, root: data } }
environments: { test: {} }
"""
FLOW = """flowrun: 1
flow: t
source:
  { connection: files, object: in.jsonl, record: r, trigger: { poll: { every: 1m, full: true } }, key: r.id }
map:
  a: { from: r.a, as: [AS], default: none }
target: { connection: files, object: out.jsonl, action: create, idempotency: { key: r.id, find_existing: id } }
tests:
  - { name: it is mapped, given: { r: { id: "1", a: "12" } }, expect: { a: "00000000000012" } }
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    site = tmp_path / "site"
    about = site / "own_of_test-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "own_of_test.py").write_text(MODULE)
    (about / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "own_of_test", raising=False)
    project = tmp_path / "project"
    (project / "flows").mkdir(parents=True)
    (project / "flowrun.yaml").write_text(PROJECT)
    monkeypatch.chdir(project)
    return project


def body(root: Path, words: str, value: Any) -> Any:
    (root / "flows/t.yaml").write_text(FLOW.replace("AS", words))
    checked = check_project(load_project(root), discover())
    assert [d.message for d in checked.diagnostics if d.severity == "error"] == []
    plan = compile_plan(checked.flows[0], {})
    record = {"id": "1", "a": value}
    outcome = plan.apply(record)
    assert plan.explain(record).outcome == outcome
    if isinstance(outcome, Rejected):
        return f"{outcome.field}: {outcome.message}"
    assert isinstance(outcome, Mapped)
    return outcome.body["a"]


@pytest.mark.parametrize(
    ("words", "value", "wanted"),
    [
        ("gtin14", "12", "00000000000012"),
        ("gtin14", 12, "00000000000012"),
        ("gtin14 4", "12", "0012"),
        ("trim, gtin14 4, after 00", " 12 ", "12"),
        ("gtin14", "x", "a: gtin14: x is no GTIN"),
        ("gtin14", [1], "a: gtin14 takes text, not a list"),
        ("doubled", "1.10", Decimal("2.20")),
        ("doubled", "x", "a: 'x' is not a number"),
        ("nothing", "x", "none"),
        ("nothing", "day", "2026-05-04"),
        ("floats", 1, "a: floats gave float, and declares decimal"),
        ("breaks", [1], "a: breaks: TypeError: list indices must be integers or slices, not str"),
    ],
)
def test_in_a_flow(root: Path, words: str, value: Any, wanted: Any) -> None:
    assert body(root, words, value) == wanted


@pytest.mark.parametrize("ending", [", default: none", ""])
def test_none_is_no_value_whatever_is_declared(root: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    """In the fast way, too, where a number is otherwise never tested for being there."""
    monkeypatch.setattr(f"{__name__}.FLOW", FLOW.replace(", default: none", ending))
    assert body(root, "unless_zero", "0") == ("none" if ending else "a: r.a has no value")
    assert body(root, "unless_zero", "2.50") == Decimal("2.50")
    assert body(root, "moment", "now") == "2026-05-04T10:00:00Z"


def test_nothing_of_another_is_remembered(root: Path) -> None:
    """What it gives may differ from one call to the next, so a costly neighbour does not make it remembered."""
    (root / "flows/t.yaml").write_text(FLOW.replace("AS", "counting, not_below 0, integer"))
    plan = compile_plan(check_project(load_project(root), discover()).flows[0], {})
    outcomes = [plan.apply({"id": "1", "a": "7"}) for _ in range(2)]
    first, second = (one.body["a"] for one in outcomes if isinstance(one, Mapped))
    assert second == first + 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("undeclared", "not declared"),
        ("absent", "could not be loaded"),
        ("missing", "no converter 'missing' is installed"),
        ("upper", "of the language itself"),
    ],
)
def test_what_cannot_be_used(root: Path, name: str, words: str) -> None:
    with pytest.raises(ProjectError, match=words):
        own_converters([name])


def test_what_is_not_listed_is_unknown(root: Path) -> None:
    (root / "flowrun.yaml").write_text(PROJECT.replace("gtin14, ", ""))
    (root / "flows/t.yaml").write_text(FLOW.replace("AS", "gtin14"))
    checked = check_project(load_project(root), discover())
    assert [d.code for d in checked.diagnostics if d.severity == "error"] == ["FR120"]


def test_arguments_are_checked(root: Path) -> None:
    (root / "flows/t.yaml").write_text(FLOW.replace("AS", "gtin14 1 2"))
    (found,) = [d for d in check_project(load_project(root), discover()).diagnostics if d.severity == "error"]
    assert (found.code, found.message) == ("FR121", "'gtin14' is written: gtin14 [width]")


def test_the_flow_changes_with_its_converters(root: Path) -> None:
    (root / "flows/t.yaml").write_text(FLOW.replace("AS", "gtin14"))
    before = check_project(load_project(root), discover()).flows[0].hash
    place = root.parent / "site/own_of_test.py"
    place.write_text(MODULE + "\n# changed\n")
    assert check_project(load_project(root), discover()).flows[0].hash != before


def test_examples_run_as_tests(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = own_converters(["gtin14", "doubled", "floats", "breaks"])
    assert failures(found["gtin14"]) == failures(found["doubled"]) == []
    assert "floats gave float" in failures(found["floats"])[0]
    (root / "flows/t.yaml").write_text(FLOW.replace("AS", "gtin14"))
    with pytest.raises(SystemExit, match="1"):
        main(["test"])
    wanted = "FAILED  converter: as floats: 1: expected 1.5, got the error: floats gave float"
    assert wanted in click.unstyle(capsys.readouterr().out)
    (root / "flowrun.yaml").write_text(PROJECT.replace(", floats, breaks", ""))
    with pytest.raises(SystemExit, match="0"):
        main(["test"])
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 0 failed"


def test_editors_know_them(root: Path) -> None:
    one = flow_schema(load_project(root).converters)["$defs"]["converters"]["anyOf"][0]
    assert "gtin14" in one["examples"] and "gtin14" in one["pattern"]


def test_a_declaration_is_held_to_its_rules() -> None:
    with pytest.raises(TypeError, match="at least one example"):
        converter(takes="text", gives="text", examples=[])
    with pytest.raises(TypeError, match="takes and gives one of"):
        converter(takes="str", gives="text", examples=[("a", "b")])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="docstring"):
        converter(takes="text", gives="text", examples=[("a", "b")])(lambda value: value)


def test_days_and_booleans_are_told_apart() -> None:
    @converter(takes="date", gives="integer", examples=[(date(2026, 5, 4), 4)])
    def day(value: date) -> Any:
        "the day of the month; a boolean on the first"
        return value.day > 0 if value.day == 1 else value.day

    module = sys.modules[__name__]
    module.day_of_test = day  # type: ignore[attr-defined]
    own = own_converters(["day"], {"day": f"{__name__}:day_of_test"})["day"]
    assert own.make()(date(2026, 5, 4)) == 4
    for wrong in (date(2026, 5, 1), "2026-05-04"):
        with pytest.raises(DataError):
            own.make()(wrong)
