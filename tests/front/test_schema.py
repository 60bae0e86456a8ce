"""The editors' schema: valid itself, takes what the checker takes, refuses what it refuses; every kind has a form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from casekit import CASES, read_case
from frontkit import GOOD, PROJECT, REGISTRY

from flowrun.cli.main import main
from flowrun.document import Map, Node, Scalar, Seq, parse
from flowrun.flow import words
from flowrun.flow.schema import flow_schema, project_schema
from flowrun.flow.words import Word
from flowrun.project import constant

SHIPPED = sorted((Path(__file__).parents[2] / "flows").rglob("*.yaml"))


def plain(node: Node | None) -> Any:
    """As an editor sees it: unquoted scalars are typed."""
    if isinstance(node, Map):
        return {entry.key.text: plain(entry.value) for entry in node.entries}
    if isinstance(node, Seq):
        return [plain(item) for item in node.items]
    value = constant(node) if isinstance(node, Scalar) else None
    return float(value) if type(value).__name__ == "Decimal" else value


def errors(schema: Any, text: str) -> list[str]:
    document = parse(text, "x.yaml")
    assert not document.problems
    found = jsonschema.Draft202012Validator(schema).iter_errors(plain(document.root))
    return [error.message for error in found]


def test_both_schemas_are_schemas() -> None:
    jsonschema.Draft202012Validator.check_schema(flow_schema())
    jsonschema.Draft202012Validator.check_schema(project_schema(REGISTRY))


@pytest.mark.parametrize("path", [*sorted(GOOD.glob("*.yaml")), *SHIPPED], ids=lambda path: path.stem)
def test_good_flows_fit(path: Path) -> None:
    assert errors(flow_schema(), path.read_text(encoding="utf-8")) == []


def test_the_project_file_fits() -> None:
    assert errors(project_schema(REGISTRY), PROJECT) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("source:", "soruce:"),
        ("every: 15m", "every: fifteen"),
        ("on_miss: error", "on_mis: error"),
        ("at_least: 1", "at_least: one"),
        ("value: ZBIG", "valu: ZBIG"),
        ("as: [trim, upper]", "as: [trim, uper]"),
        ("{ from: order.currency, as: upper, default: USD }", "{ from: order.currency, text: x }"),
        ("bad_data:", "bad_date:"),
        ("retry: { times: 8,", "retry: { times: many,"),
        ("each: line in order.items", "each: order.items"),
        ("action: create", "acton: create"),
        ("name: a small domestic order", "nam: a small domestic order"),
    ],
)
def test_what_the_checker_refuses_in_form_the_schema_refuses_too(old: str, new: str) -> None:
    text = (GOOD / "orders.yaml").read_text(encoding="utf-8")
    assert old in text
    assert errors(flow_schema(), text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("connector: xcart", "connector: ycart"),
        ("api_key: { secret: xcart_api_key }", "api_key: 3f9a"),
        ("api_key: { secret: xcart_api_key }", "api_kex: { secret: x }"),
        ("    api_key: { secret: xcart_api_key }\n", ""),
        ("rate: 20/s", "rate: often"),
        ("basic: { user", "basics: { user"),
        ("sandbox:", "sandboxes:"),
        ("also: [finance]", "alsos: [finance]"),
        ("also: [finance]", "every: often"),
        ("also: [finance]", "escalate: { after: 30m }"),
        ("also: [finance]", "apprise: { secret: teams }"),
        ("url: { secret: finance_webhook }", "mail: { host: m.example.com, to: [a@example.com] }"),
        ("url: { secret: finance_webhook }", "mail: { host: m, sender: a@b, to: a@b, user: u, password: hunter2 }"),
    ],
)
def test_mistakes_in_the_project_file(old: str, new: str) -> None:
    assert old in PROJECT
    assert errors(project_schema(REGISTRY), PROJECT.replace(old, new, 1))


@pytest.mark.parametrize(
    "new",
    [
        "apprise: { secret: teams }",
        "also: [finance], every: 15m, escalate: { after: 30m, to: [finance, warehouse] }",
        "mail: { host: { env: SMTP }, port: 587, sender: a@b, to: [c@d], tls: starttls, user: u, password: { secret: p } }",
    ],
)
def test_alert_channels_of_every_kind(new: str) -> None:
    text = PROJECT.replace("url: { secret: warehouse_webhook }", new)
    assert text != PROJECT and errors(project_schema(REGISTRY), text) == []


FORM = {
    "FR020", "FR021", "FR023", "FR030", "FR031", "FR033", "FR034", "FR036", "FR037", "FR038", "FR039", "FR041", "FR043",
    "FR044", "FR045", "FR046", "FR047", "FR153", "FR154", "FR160", "FR166", "FR183",
}  # fmt: skip
"""Mistakes of form; the others need the project, the contract or the expression's meaning."""
MEANT = {
    "FR031-a-key-that-is-a-list": "what a value is needs its contract",
    "FR039-a-poll-without-a-pause": "a number's meaning",
}


@pytest.mark.parametrize("path", sorted(CASES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_case_of_form_is_refused_by_the_schema_and_every_good_one_taken(path: Path) -> None:
    case = read_case(path)
    document = parse(case.flow, "flow.yaml")
    here = [one for one in case.expect if ".yaml" not in one["at"]]
    if document.broken or "fragment:" in case.flow[:20]:
        return
    found = list(jsonschema.Draft202012Validator(flow_schema(["gtin14"])).iter_errors(plain(document.root)))
    if {one["code"] for one in here if one.get("severity") != "lint"} & FORM and not MEANT.get(path.stem):
        assert found
    if not any(one.get("severity") != "lint" for one in here):
        assert [error.message for error in found] == []


def test_hover_text_and_examples_come_from_the_words() -> None:
    flow = flow_schema()["$defs"]["flow"]["properties"]
    assert flow["owner"]["description"] == words.FLOW["owner"].doc
    assert flow["owner"]["examples"] == ["order-to-cash team"]


def test_every_word_is_described_and_every_reference_leads_somewhere() -> None:
    schema = project_schema(REGISTRY)

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                assert node["$ref"].removeprefix("#/$defs/") in schema["$defs"]
            for inner in node.values():
                walk(inner)
        elif isinstance(node, list):
            for inner in node:
                walk(inner)

    walk(schema)
    walk(flow_schema())
    boxes = [box for box in vars(words).values() if isinstance(box, dict)]
    flat = [word for box in boxes for word in box.values() if isinstance(word, Word)]
    assert len(flat) > 100
    assert all(word.doc.endswith((".", "}")) for word in flat), [w.doc for w in flat if not w.doc.endswith((".", "}"))]


def test_the_words_of_flowrun_yaml_are_those_its_reader_knows() -> None:
    from flowrun import project

    assert set(words.PROJECT) == set(project._KEYS)
    assert set(words.ENVIRONMENT) == set(project._ENVIRONMENT_KEYS)


def test_the_command_writes_both_where_the_modelines_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("flowrun.cli.schema.discover", lambda: REGISTRY)
    (tmp_path / "flowrun.yaml").write_text(PROJECT, encoding="utf-8")
    (tmp_path / "flows").mkdir()
    monkeypatch.chdir(tmp_path / "flows")
    with pytest.raises(SystemExit):
        main(["schema", "--write"])
    assert json.loads((tmp_path / ".flowrun/flow.schema.json").read_text(encoding="utf-8")) == flow_schema()
    assert json.loads((tmp_path / ".flowrun/project.schema.json").read_text(encoding="utf-8")) == project_schema(
        REGISTRY
    )
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["schema"])
    assert json.loads(capsys.readouterr().out) == flow_schema()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_flow_says_where_its_schema_is(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    ups = "../" * len(path.relative_to(Path(__file__).parents[2]).parent.parts)
    assert first == f"# yaml-language-server: $schema={ups}.flowrun/flow.schema.json"
