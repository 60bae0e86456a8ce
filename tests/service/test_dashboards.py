"""The dashboard and the alert rules ask for metrics, and labels of them, that a running service gives; and for all of
them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from flowrun.store import Incoming
from tests.conftest import ROOT
from tests.service.serving import ORDERS, placed, serving, until

Asked = dict[str, set[str]]


def rules() -> list[dict[str, Any]]:
    found = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())
    return [rule for group in found["groups"] for rule in group["rules"]]


def dashboard() -> Any:
    return json.loads((ROOT / "deploy/grafana/flowrun.json").read_text())


def expressions() -> Iterator[tuple[str, str]]:
    for rule in rules():
        yield f"rule {rule['alert']}", rule["expr"]
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield f"panel {panel['title']}", target["expr"]


def asked(expr: str) -> Asked:
    """Metric → labels that the expression speaks of, by a parser of the language itself."""
    found: Asked = {}

    def walk(node: Any, by: set[str]) -> None:
        if isinstance(node, promql.AggregateExpr):
            walk(node.expr, by | set(node.modifier.labels if node.modifier else ()))
        elif isinstance(node, promql.VectorSelector):
            labels = {one.name for one in node.matchers.matchers if one.name != "__name__"}
            found.setdefault(node.name, set()).update(labels | by)
        elif isinstance(node, promql.MatrixSelector):
            walk(node.vector_selector, by)
        elif isinstance(node, promql.Call):
            made = {"flow"} if node.func.name == "label_replace" else set()
            for arg in node.args:
                walk(arg, by - made)
        elif isinstance(node, promql.BinaryExpr):
            walk(node.lhs, by)
            walk(node.rhs, by)
        elif isinstance(node, promql.ParenExpr):
            walk(node.expr, by)

    walk(promql.parse(expr), set())
    return found


def given(text: str) -> Asked:
    found: Asked = {}
    for family in text_string_to_metric_families(text):
        found.setdefault(family.name + ("_total" if family.type == "counter" else ""), set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_they_ask_for_what_a_running_service_gives_and_for_all_of_it(
    project: Path, tmp_path: Path, shop: Any, erp: Any
) -> None:
    placed(shop, [1])
    with serving(project, tmp_path / "state.db", shop, erp) as here:
        until(lambda: here.store.counts(ORDERS) == {"dead": 1})
        assert here.hook(*shop.webhook(1)).status_code == 200
        here.service.metrics.missed.labels(ORDERS).inc(0)
        here.store.circuits.pause("xcart", "401")
        here.store.pauses.pause("flow", ORDERS, "look", "ann")
        here.store.end_run(here.store.begin_run(ORDERS, "test", "h", "full"), {"missing": 1})
        here.store.inbox.add(ORDERS, [Incoming("brought", "1", "brought", {})])
        with here.store.transaction() as tx:
            tx.exec_driver_sql(
                "INSERT INTO tokens (connection, version, expires_at, refusals) VALUES ('s4', 1, 4000000000, 0)"
            )
        there = given(here.http.get("/metrics").text)
    wrong, seen = [], set()
    for place, expr in expressions():
        for metric, labels in asked(expr).items():
            seen.add(metric.removesuffix("_bucket"))
            if metric not in there:
                wrong.append(f"{place}: no metric {metric}")
            elif there[metric] and (unknown := labels - there[metric]):
                wrong.append(f"{place}: {metric} has no label {', '.join(sorted(unknown))}")
    assert wrong == []
    shown = {
        name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum")
        for name in there
        if name.startswith("flowrun_")
    }
    assert shown - seen == set()  # a metric that is new has its place on the dashboard
    assert {name for name in there if name.startswith("flowrun_") and not there[name]} <= {
        "flowrun_open_alerts", "flowrun_store_up", "flowrun_thin_events", "flowrun_webhook_seconds",
    }  # fmt: skip


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_rule_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("info", "warning", "critical")
    assert rule["annotations"].keys() == {"summary", "next"}
    promql.parse(rule["expr"])


def test_panels_stand_apart_and_have_their_own_numbers() -> None:
    board = dashboard()
    assert board["uid"] == "flowrun"
    places: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not places & cells and at["x"] + at["w"] <= 24, panel["title"]
        places |= cells
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
