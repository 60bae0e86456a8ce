"""The OpenAPI document is valid, says what is served, and what is served does as it says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from flowrun.service.admin import ROUTES
from flowrun.service.admin.openapi import document
from flowrun.store.access import ROLES
from tests.service.admin_serving import API, administered
from tests.service.serving import ORDERS, until

CHECKS = [  # that a token is asked for is asked of every route in test_admin.py
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance, negative_data_rejection, unsupported_method,
]  # fmt: skip
EXAMPLES = 8  # requests of each operation and mode


def test_the_document_is_valid_and_says_what_the_table_says() -> None:
    made = document(ROUTES)
    OpenAPIV31SpecValidator(made).validate()
    said = {(method, path) for path, at in made["paths"].items() for method in at}
    assert len(said) == len(ROUTES)
    operations = [one for at in made["paths"].values() for one in at.values()]
    assert len({one["operationId"] for one in operations}) == len(ROUTES)
    assert {one["x-role"] for one in operations} == set(ROLES)
    for one in operations:
        assert one["summary"].endswith(".") and one["responses"].keys() == {"200", "default"}
    audited = {one["operationId"] for one in operations if one["x-audited"]}
    assert audited == {route.name for route in ROUTES if route.changes}


def test_what_reads_changes_nothing_and_what_changes_is_no_reading() -> None:
    for route in ROUTES:
        assert route.changes <= (route.method != "GET")
        assert (route.role == "viewer") <= (route.method == "GET")


def test_it_does_as_its_document_says(project: Path, tmp_path: Path, shop: Any, erp: Any) -> None:
    """Made-up requests to each operation, right ones and wrong ones, as an admin; over a real socket."""
    shop.place_order([("no-such", "Mug", 1, "10.00")], order_id=1)
    limits = settings(
        max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate], derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    with administered(project, tmp_path / "state.db", shop, erp) as admin:
        until(lambda: admin.store.counts(ORDERS) == {"dead": 1})
        head = {"authorization": f"Bearer {admin.tokens['admin']}"}
        schema = schemathesis.openapi.from_dict(admin.get("openapi.json"))
        asked: Counter[str] = Counter()
        for result in schema.get_all_operations():
            operation = result.ok()
            for mode in GenerationMode:

                @limits
                @given(case=operation.as_strategy(mode))
                def ask(case: Any) -> None:
                    asked[case.operation.definition.raw["operationId"]] += 1
                    case.call_and_validate(base_url=f"{admin.url}{API}", headers=head, checks=CHECKS, timeout=10)

                try:
                    ask()
                except Unsatisfiable:  # nothing about it can be wrong
                    assert mode is GenerationMode.NEGATIVE
        assert asked.keys() == {route.name for route in ROUTES}
        assert admin("GET", "status").status_code == 200
