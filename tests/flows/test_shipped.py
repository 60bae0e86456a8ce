"""Every shipped flow validates strictly, passes its tests, and fits the editors' schema; the documentation's flows too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from flowrun.connector import discover
from flowrun.document import load
from flowrun.flow import check_project
from flowrun.flow.reading import Reader
from flowrun.flow.schema import flow_schema
from flowrun.project import load_project
from flowrun.testing.flow_tests import run_tests

ROOT = Path(__file__).parent.parent.parent
SHIPPED = sorted((ROOT / "flows").rglob("*.yaml"))
AGREED = ROOT.parent / "shared" / "language.md"


def failures(root: Path, *paths: Path) -> list[str]:
    project = load_project(root)
    checked = check_project(project, discover(), paths)
    said = [f"{d.span}: {d.code}: {d.message}" for d in checked.diagnostics if d.severity == "error"]
    values = project.environment("test").values
    for flow in checked.flows:
        said += [f"{flow.name}: {r.test.name}: {r.differences}" for r in run_tests(flow, values) if not r.passed]
    return said


def test_shipped_flows_have_no_finding_and_pass_their_tests(project: Path) -> None:
    checked = check_project(load_project(project), discover())
    assert [f"{d.span}: {d.code}" for d in checked.diagnostics] == []
    assert len(checked.flows) == len(SHIPPED)
    assert all(len(flow.tests) >= 3 for flow in checked.flows)
    assert failures(project) == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_shipped_flows_fit_the_schema_and_name_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=../../.flowrun/flow.schema.json")
    document = load(text, path.name)
    jsonschema.validate(Reader(document).plain(document.root), flow_schema())


@pytest.mark.parametrize("file", ["README.md"])
def test_the_flows_of_the_documentation_validate(project: Path, file: str) -> None:
    blocks = re.findall(r"```yaml\n(flowrun: 1\nflow: .*?)```", (ROOT / file).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    # The page shows what matters; what the contract wants beside it is filled in here.
    rest = '  SalesOrganization: env.sales_org\n  DistributionChannel: { value: "10" }\n  OrganizationDivision: { value: "00" }\n  SoldToParty: order.customer_id\n'
    for number, block in enumerate(blocks):
        path = project / "flows" / f"doc{number}.yaml"
        path.write_text(block.replace("flow: ", f"flow: doc{number}-", 1).replace("target:\n", rest + "target:\n", 1))
        assert failures(project, path) == []


@pytest.mark.skipif(not AGREED.exists(), reason="the agreed language page is not on this machine")
def test_the_agreed_examples_validate_and_pass_their_tests(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", AGREED.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "flows").mkdir()
    (tmp_path / "lookups").mkdir()
    tables: dict[str, Any] = {
        "countries": "xcart,sap_iso\nUS,US\nDE,DE\nNO,NO\n", "plants": "country,sku_group,plant\nUS,MUGS,1710\n",
        "safety_stock": "sku,qty\nAB-1,2\n",
    }  # fmt: skip
    for name, text in tables.items():
        (tmp_path / "lookups" / f"{name}.csv").write_text(text)
    (tmp_path / "flowrun.yaml").write_text(blocks[-1])
    for number, block in enumerate(blocks[:-1]):
        (tmp_path / "flows" / f"e{number}.yaml").write_text(block)
    said = failures(tmp_path)
    assert all("flows/e2.yaml" in one for one in said), said
    assert any("FR023" in one for one in said), "what workflows cannot do yet is refused, with a reason"
