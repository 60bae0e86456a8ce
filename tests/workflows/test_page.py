"""The page's flow is a good one, and its tests pass."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from flowrun.connector import discover
from flowrun.flow import check_project
from flowrun.flow.schema import flow_schema
from flowrun.project import load_project
from flowrun.testing.flow_tests import run_tests
from flowrun.testing.mutate import survivors

PAGE = (Path(__file__).parents[2] / "docs" / "workflows.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
PROJECT = """
flowrun: 1
project: page
connections:
  shop: { connector: http, base_url: "http://127.0.0.1:9", objects: { orders: { read: { path: o }, update: { path: "o/{id}" } } } }
  crm: { connector: http, base_url: "http://127.0.0.1:9", objects: { customers: { get: { path: "c/{id}" } } } }
  erp:
    connector: http
    base_url: "http://127.0.0.1:9"
    objects:
      orders: { create: { path: o }, find: { path: o }, match: [id] }
      notes: { create: { path: n }, find: { path: n } }
environments: { test: { values: {} } }
"""


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_is_a_good_flow_whose_tests_pass_and_notice_its_conditions(tmp_path: Path, block: str) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flowrun.yaml").write_text(PROJECT)
    (tmp_path / "flows" / "flow.yaml").write_text(block)
    checked = check_project(load_project(tmp_path), discover())
    assert [(d.code, d.message, d.span.line) for d in checked.diagnostics if d.code != "FR198"] == []
    (flow,) = checked.flows
    assert [(r.test.name, r.differences) for r in run_tests(flow, {}) if not r.passed] == []
    assert [str(one.change) for one in survivors(flow, {}) if "not (" in one.change] == []
    jsonschema.Draft202012Validator(flow_schema()).validate(json.loads(json.dumps(yaml.safe_load(block))))
