"""docs/language.md is the whole of the language: every declared word stands on it, and every block of it runs."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from flowrun.connector import discover
from flowrun.document import load
from flowrun.errors import ERROR_CLASSES
from flowrun.expressions.converters import CONVERTERS
from flowrun.expressions.jinja_filters import REFUSED_FILTERS
from flowrun.expressions.jinja_parse import REFUSED
from flowrun.expressions.jinja_tests import REFUSED_TESTS
from flowrun.flow import check_project, words
from flowrun.flow.reading import Reader
from flowrun.flow.schema import flow_schema, project_schema
from flowrun.project import load_project
from flowrun.testing.flow_tests import run_tests

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "language.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
ELSEWHERE = {"AUTH": "credentials.md", "SCHEMES": "credentials.md", "MAIL": "alerts.md", "ESCALATE": "alerts.md"}
"""Boxes that have a page of their own, which the language page names."""


def said_on(page: str) -> set[str]:
    """Words in code and keys of blocks."""
    blocks = "\n".join(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    said = {word for quoted in re.findall(r"`([^`\n]+)`", page) for word in re.findall(r"[A-Za-z0-9_]+", quoted)}
    return said | set(re.findall(r"(?:^\s*(?:- )?|[{,] )([a-z_0-9]+):", blocks, re.MULTILINE))


SAID = {name: said_on((DOCS / name).read_text(encoding="utf-8")) for name in {"language.md", *ELSEWHERE.values()}}

BOXES = {name: box for name, box in vars(words).items() if name.isupper() and isinstance(box, dict)}
NAMES = {
    **{f"{box} {key}": key for box, keys in BOXES.items() for key in keys},
    **{f"AUTH {scheme} {key}": key for scheme, keys in words.AUTH.items() for key in keys},
    **{f"converter {name}": name for name in CONVERTERS},
    **{f"class {name}": name for name in ERROR_CLASSES},
    **{f"reserved {name}": name for name in (*words.RESERVED_STEP_WORDS, *words.RESERVED_NAMES)},
    **{f"refused {name}": name for name in (*REFUSED_FILTERS, *REFUSED_TESTS, *REFUSED) if name not in ("from",)},
}


def test_the_declarations_are_walked() -> None:
    assert {"FLOW", "SOURCE", "TARGET", "VALUE", "LOOKUP", "TEST", "PROJECT", "CONNECTION", "AUTH"} <= set(BOXES)
    assert len(NAMES) > 200


@pytest.mark.parametrize("what", sorted(NAMES))
def test_every_word_is_on_the_page(what: str) -> None:
    assert NAMES[what] in SAID[ELSEWHERE.get(what.split()[0], "language.md")]


@pytest.mark.parametrize("page", sorted(set(ELSEWHERE.values())))
def test_the_pages_beside_it_are_named(page: str) -> None:
    assert page in PAGE


def test_the_page_names_no_converter_that_is_not_there() -> None:
    table = PAGE.split("## Converters")[1].split("\n## ")[0]
    named = {
        one.split()[0]
        for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
        for one in re.findall("`([^`]+)`", row)
    }
    assert named == set(CONVERTERS)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "flows").mkdir()
    (tmp_path / "lookups").mkdir()
    (tmp_path / "flowrun.yaml").write_text(BLOCKS[-1], encoding="utf-8")
    (tmp_path / "lookups/countries.csv").write_text("alpha2,sap\nUS,US\n")
    (tmp_path / "lookups/plants.csv").write_text("country,group,plant\nUS,MUGS,1710\n")
    for block in BLOCKS[:-1]:
        if block.startswith(("fragment:", "# yaml")):
            name = "fragment" if block.startswith("fragment:") else "flow"
            (tmp_path / f"flows/{name}.yaml").write_text(block, encoding="utf-8")
    return tmp_path


def test_the_flow_validates_strictly_and_passes_its_tests(root: Path) -> None:
    checked = check_project(load_project(root), discover())
    assert [f"{d.span}: {d.code}: {d.message}" for d in checked.diagnostics] == []
    (flow,) = checked.flows
    results = list(run_tests(flow, load_project(root).environment("test").values))
    assert [r.differences for r in results if not r.passed] == []
    assert len(results) == 4


def test_the_lookups_stand_in_the_flow(root: Path) -> None:
    (box,) = (block for block in BLOCKS if block.startswith("lookups:"))
    path = root / "flows/flow.yaml"
    text = path.read_text(encoding="utf-8")
    start, end = text.index("lookups:"), text.index("map:")
    path.write_text(text[:start] + box + "\n" + text[end:], encoding="utf-8")
    found = check_project(load_project(root), discover()).diagnostics
    assert {d.code for d in found} == {"FR185"}, found  # most of them are shown, not used


def test_editors_take_every_block(root: Path) -> None:
    for name in ("flow", "fragment"):
        document = load((root / f"flows/{name}.yaml").read_text(encoding="utf-8"), name)
        jsonschema.validate(Reader(document).plain(document.root), flow_schema())
    jsonschema.validate(yaml.safe_load(BLOCKS[-1]), project_schema(discover()))
