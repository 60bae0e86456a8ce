"""Every connector that is installed passes the suite; and what it is not asked is known, with the reason."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import pytest

import tests.contract
from flowrun.connector import discover
from flowrun.testing.contract_suite import NEEDS, Subject, _all

LACKING: dict[str, dict[str, str]] = {
    "event_mesh": {
        "source": "a queue is pulled, not read",
        "by_key": "messages have no key",
        "target": "it only brings",
        "receiver": "what pushes is its sibling, the webhook; tests/event_mesh asks what queues promise",
    },
    "file": {"by_key": "a file has no keys", "receiver": "files are not sent", "faults": "no system is on the way"},
    "http": {"receiver": "what is described in YAML has no webhooks yet"},
    "s4hana": {"receiver": "its sender signs nothing; tests/service/test_event_mesh.py asks what holds instead"},
    "xcart": {},
}
"""Connector → what it lacks, and why that is right."""


def suites() -> dict[type, list[Subject]]:
    found: dict[type, list[Subject]] = {}
    for module in pkgutil.iter_modules(tests.contract.__path__, "tests.contract."):
        if module.name.rpartition(".")[2].startswith("test_") and module.name != __name__:
            for one in vars(importlib.import_module(module.name)).values():
                subject = getattr(one, "subject", None)
                if isinstance(one, type) and isinstance(subject, Subject):
                    found.setdefault(subject.cls, []).append(subject)
    return found


@pytest.mark.parametrize("name", list(discover()))
def test_it_passes_the_suite_and_lacks_nothing_more_than_is_said(name: str) -> None:
    cls: Any = discover()[name]
    subjects = suites().get(cls, [])
    assert subjects, f"{name} has no contract_tests(…) in tests/contract"
    there = {need for need, (_, holds) in NEEDS.items() for subject in subjects if holds(subject)}
    assert set(NEEDS) - there == set(LACKING[name])


def test_every_promise_says_what_it_needs() -> None:
    for one in _all().values():
        assert set(one.needs) <= set(NEEDS), one.name
        assert one.check.__doc__, f"{one.name} says nothing"
