"""Traces: a span a step, with names and counts; nothing of a record, nor the words of an error, is in one."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from flowrun import spans
from flowrun.errors import ProjectError, Unavailable
from tests.service.serving import ORDERS, known_customer, serving, until

CANARY = "canary.person@example.com"
FACTS = {"flow", "connection", "records", "outcome", "events", "refused", "kind", "read", "new"}


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    found = InMemorySpanExporter()
    assert spans.begin(found)
    yield found
    spans.end()


def test_each_step_is_a_span_with_names_and_counts_only(
    project: Path, tmp_path: Path, shop: Any, erp: Any, exporter: InMemorySpanExporter
) -> None:
    place = tmp_path / "state.db"
    known_customer(place)
    shop.place_order([("ab-1", CANARY, 1, "10.00")], order_id=4711, email=CANARY)
    with serving(project, place, shop, erp) as here:
        assert here.hook(*shop.webhook(4711)).status_code == 200
        assert here.hook({"x-nothing": "1"}, b"{}").status_code == 401
        until(lambda: here.store.counts(ORDERS) == {"confirmed": 1})
    spans.end()
    found = exporter.get_finished_spans()
    by_name = {name: [one for one in found if one.name == name] for name in {one.name for one in found}}
    assert by_name.keys() == {"receive", "pass", "deliver", "map", "send"}
    (send,) = by_name["send"]
    assert dict(send.attributes or {}) == {
        "flowrun.flow": ORDERS, "flowrun.connection": "s4", "flowrun.records": 1, "flowrun.refused": 0,
    }  # fmt: skip
    delivers = {one.context.span_id for one in by_name["deliver"]}
    for one in (*by_name["map"], *by_name["send"]):
        assert one.parent is not None and one.parent.span_id in delivers
    assert {one.attributes["flowrun.outcome"] for one in by_name["receive"]} == {"accepted", "unsigned"}
    for one in found:
        assert set(one.attributes or {}) <= {f"flowrun.{name}" for name in FACTS} and not one.events
        text = one.to_json()
        assert CANARY not in text and "4711" not in text


def test_of_an_error_only_its_kind_is_told(exporter: InMemorySpanExporter) -> None:
    with pytest.raises(Unavailable), spans.span("send", flow="f"):
        raise Unavailable(f"'{CANARY}' was not taken")
    spans.end()
    (one,) = exporter.get_finished_spans()
    assert one.status.description == "Unavailable" and not one.events and CANARY not in one.to_json()


def test_without_an_address_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(spans.ENDPOINT, raising=False)
    assert not spans.begin()
    with spans.span("send", flow="f") as step:
        step.say(records=1)


def test_an_address_without_the_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **more: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setenv(spans.ENDPOINT, "http://127.0.0.1:4318")
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ProjectError, match="not installed"):
        spans.begin()
