"""Whatever stands in a flow, a fragment, a table or flowrun.yaml: findings, never a traceback."""

from __future__ import annotations

import random
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from frontkit import GOOD, PROJECT, REGISTRY, write_project
from hypothesis import given, settings
from hypothesis import strategies as st

from flowrun.document import parse, walk
from flowrun.errors import ProjectError
from flowrun.flow import Checked, check_project
from flowrun.project import load_project

INSTEAD = [
    "x", "[]", "{}", "[a, b]", "{ a: b }", "null", '""', '"{{ x"', "12", "true", "[[]]", "{ a: { b: [c] } }", "1.5",
    "{ value: x }", "{ from: order }", "{ first: [] }", "{ each: a in b, map: { c: a } }", "{ use: address }", "-1",
    '"order.items[*]"', "{ lookup: x, key: [] }", "{ default: x }", "~", "{ map: {} }", "order..x", "{ text: 1 }",
    "{ secret: x }", "{ env: x }", "a.b.c", '"\\u0000"', "{ when: x }", "[{ when: a }]",
]  # fmt: skip


def check(files: dict[str, str]) -> Checked | None:
    with TemporaryDirectory() as folder:
        write_project(Path(folder), files)
        try:
            return check_project(load_project(Path(folder)), REGISTRY)
        except ProjectError:
            return None


def upset(text: str, rng: random.Random) -> str:
    """One or two values or keys replaced by something that fits nowhere."""
    for _ in range(rng.randint(1, 2)):
        nodes = [node for node in walk(parse(text, "x.yaml").root) if node.end > node.start]
        if not nodes:
            return text
        node = rng.choice(nodes)
        text = text[: node.start] + rng.choice(INSTEAD) + text[node.end :]
    return text


@given(st.integers(0, 10**9))
@settings(max_examples=300, deadline=None)
def test_flows(seed: int) -> None:
    rng = random.Random(seed)
    name = rng.choice(["orders", "stock", "small", "steps"])
    text = upset((GOOD / f"{name}.yaml").read_text(encoding="utf-8"), rng)
    checked = check({"flows/a.yaml": text})
    assert checked is not None
    for d in checked.diagnostics:
        document = checked.documents.get(d.span.file)
        assert d.span.line >= 1 and d.message
        if document is not None and document.text and d.fix is not None:
            assert 0 <= d.fix.start <= d.fix.end <= len(document.text)


@given(st.integers(0, 10**9))
@settings(max_examples=100, deadline=None)
def test_flowrun_yaml(seed: int) -> None:
    text = upset(PROJECT, random.Random(seed))
    check({"flowrun.yaml": text, "flows/small.yaml": (GOOD / "small.yaml").read_text(encoding="utf-8")})


@given(st.integers(0, 10**9))
@settings(max_examples=60, deadline=None)
def test_fragments(seed: int) -> None:
    fragment = upset((GOOD / "address.yaml").read_text(encoding="utf-8"), random.Random(seed))
    flow = (GOOD / "orders.yaml").read_text(encoding="utf-8")
    flow = flow.replace("\ntarget:", "\n  ShipTo: { use: address, with: { a: order.billing } }\n\ntarget:", 1)
    assert check({"flows/a.yaml": flow, "flows/address.yaml": fragment}) is not None


@pytest.mark.parametrize(
    "table",
    [
        "",
        "\n\n",
        "a",
        "a,b\n1",
        "a,a\n1,2\n",
        '"',
        'a,b\n"1,2\n',
        "a,b\n1,2\n1,3\n",
        "\x00,b\n",
        "\ufeffxcart,sap_iso\nUS,US\n",
    ],
)
def test_tables(table: str) -> None:
    assert check({"lookups/countries.csv": table, "flows/a.yaml": (GOOD / "orders.yaml").read_text(encoding="utf-8")})


@pytest.mark.parametrize(
    "table", ["", "a: b", "- a", "- { xcart: US, sap_iso: US }", "a: [", "- { xcart: US }\n- { b: c }"]
)
def test_yaml_tables(table: str) -> None:
    flow = (GOOD / "orders.yaml").read_text(encoding="utf-8").replace("countries.csv", "countries.yaml")
    assert check({"lookups/countries.yaml": table, "flows/a.yaml": flow})
