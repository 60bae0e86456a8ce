"""Against the routes and fields of X-Cart 5.5, where they lie beside the project: what we ask for exists there, what we
send fits, and the simulated store answers with no more and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tests.conftest import connect_shop

from flowrun.connector import Cursor, Item, Query, Receipt
from flowrun.testing.simulator import SimRequest
from flowrun.values import decode_json
from flowrun_connectors.xcart import simulator_data
from flowrun_connectors.xcart.simulator import _ROUTES, XCartSimulator

SPEC = Path(__file__).parents[3] / "shared" / "specs" / "x-cart" / "x-cart-5.5-derived-openapi.json"
pytestmark = pytest.mark.skipif(not SPEC.is_file(), reason="X-Cart's derived routes are not beside this checkout")
MAY_BE_NULL = {"billing_address", "shipping_address", "arrival_date"}
"""The derived file does not know which answers can be empty; the fact sheet and the input's own schema do."""
MODULES = {*simulator_data.MODULE_FIELDS, *simulator_data.MODULE_ITEM_FIELDS}
"""Fields that modules add; the derived file knows none of them."""


@pytest.fixture(scope="module")
def spec() -> Any:
    return _nullable(json.loads(SPEC.read_text(encoding="utf-8")))


def _nullable(value: Any) -> Any:
    """OpenAPI 3.0 → JSON Schema."""
    if isinstance(value, list):
        return [_nullable(one) for one in value]
    if not isinstance(value, dict):
        return value
    made = {name: _nullable(inner) for name, inner in value.items() if name != "nullable"}
    if value.get("nullable") is True:
        made = {"anyOf": [made, {"type": "null"}]}
    return made


def operation(spec: Any, method: str, path: str) -> Any:
    for pattern, found in spec["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), path) and method.lower() in found:
            return found[method.lower()]
    return None


def misfits(spec: Any, schema: Any, value: Any) -> Iterator[str]:
    checker = jsonschema.Draft202012Validator({**schema, "components": spec["components"]})
    for error in checker.iter_errors(value):
        if error.instance is None and error.absolute_path and error.absolute_path[-1] in MAY_BE_NULL:
            continue
        yield f"{'.'.join(map(str, error.absolute_path))}: {error.message[:150]}"
    yield from _unknown(spec, schema, value, "")


def _unknown(spec: Any, schema: Any, value: Any, path: str) -> Iterator[str]:
    """Fields that the schema does not name."""
    while "$ref" in schema or "anyOf" in schema:
        schema = (
            spec["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]] if "$ref" in schema else schema["anyOf"][0]
        )
    if isinstance(value, list) and "items" in schema:
        for index, one in enumerate(value):
            yield from _unknown(spec, schema["items"], one, f"{path}[{index}]")
    elif isinstance(value, dict) and "properties" in schema:
        for name, inner in value.items():
            if name.startswith("@") or name in MODULES:
                continue
            if name not in schema["properties"]:
                yield f"{path}.{name} does not exist"
            else:
                yield from _unknown(spec, schema["properties"][name], inner, f"{path}.{name}")


def stocked() -> XCartSimulator:
    shop = XCartSimulator()
    shop.compat = False
    for number in range(3):
        shop.place_order([("AB-1", "Mug", 2, "19.99"), ("AB-2", "Cup", 1, "1.00")], tax="1.10", discount="2.00", order_id=number + 1,
                         customer_id=None if number else 42, addresses="none" if number == 2 else "both")  # fmt: skip
    shop.orders[1]["tracking_numbers"] = [{"id": 1, "date": "2026-03-02T09:15:00+0000", "value": "1Z"}]
    shop.add_product(
        "AB-1", "Mug", "19.99", quantity=3, product_class="Mugs", tax_class="Reduced", memberships=["Gold"]
    )
    shop.add_customer("ann@example.com", "Ann", "Lee")
    return shop


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[tuple[XCartSimulator, list[SimRequest]]]:
    """Everything the native connector can do, once."""
    shop = stocked()
    with shop.running():
        xcart = connect_shop(shop, tmp_path, profile="native")
        since = Cursor("2026-01-01T00:00:00Z")
        for query in (
            Query("orders", cursor="updated_at"),
            Query("orders", since, "created_at"),
            Query("orders", filter={"status": "P", "shipping_status": "N", "email": "ann@example.com"}),
            Query("orders", filter={"created_after": "2026-01-01"}),
            Query("products", since, "updated_at"),
            Query("customers", since, "created_at", {"email": "ann@example.com"}, ["addresses"]),
        ):
            list(xcart.read(query))
        (product,) = shop.products
        (customer,) = shop.profiles
        for object, key in (
            ("orders", {"order_id": "1"}), ("orders", {"order_number": "00000001"}), ("products", {"product_id": product}),
            ("products", {"sku": "AB-1"}), ("customers", {"customer_id": customer}), ("customers", {"email": "ann@example.com"}),
        ):  # fmt: skip
            assert xcart.get(object, key) is not None
        verdicts = xcart.deliver(
            [
                Item("orders", "update", {"id": 1, "shipping_status": "S", "payment_status": "A"}, None, ("id",)),
                Item(
                    "products",
                    "update",
                    {"product_id": product, "quantity": 7, "price": Decimal("9.90")},
                    None,
                    ("product_id",),
                ),
            ]
        )
        assert all(isinstance(verdict, Receipt) for verdict in verdicts), verdicts
        assert xcart.check().ok
        yield shop, list(shop.log)


def test_every_request_is_a_route_with_parameters_that_it_knows(spec: Any, asked: Any) -> None:
    _, log = asked
    assert len({(r.method, re.sub(r"\d+", "N", r.path)) for r in log}) >= 9
    for request in log:
        found = operation(spec, request.method, request.path)
        assert found is not None, f"there is no {request.method} {request.path}"
        unknown = set(request.query) - {one["name"] for one in found.get("parameters", ())}
        assert not unknown, f"{request.path} has no {unknown}"


def test_every_body_fits(spec: Any, asked: Any) -> None:
    _, log = asked
    bodies = [(request, decode_json(request.body)) for request in log if request.method == "PUT"]
    assert len(bodies) == 3
    for request, body in bodies:
        schema = operation(spec, "PUT", request.path)["requestBody"]["content"]["application/json"]["schema"]
        assert list(misfits(spec, schema, body)) == []
        assert list(misfits(spec, schema, {**body, "nope": 1})) == [".nope does not exist"]
        if request.path.startswith("/api/products"):
            properties = spec["components"]["schemas"]["ProductInput"]["properties"]
            assert set(body) == set(properties), "a PUT resets what it leaves out, so nothing is left out"


def test_the_simulated_store_answers_as_the_routes_say(spec: Any, asked: Any) -> None:
    shop, log = asked
    for request in log:
        plain = SimRequest(request.method, request.path, request.raw_path, request.query,
                           {**request.headers, "accept": "application/json"}, request.body)  # fmt: skip
        answer = shop.handle(plain)
        found = operation(spec, request.method, request.path)["responses"]
        assert str(answer.status) in found, f"{request.method} {request.path}: {answer.status}"
        schema = found[str(answer.status)]["content"]["application/json"]["schema"]
        assert list(misfits(spec, schema, decode_json(answer.body))) == [], f"{request.method} {request.path}"


def test_the_simulated_routes_exist(spec: Any) -> None:
    for pattern, method, name in _ROUTES:
        path = (
            pattern.replace(r"(\d+)", "1")
            .replace("([^/]+)", "x")
            .replace("(payment_status|shipping_status)", "payment_status")
        )
        if not path.startswith("/api/v2"):  # the module's
            assert operation(spec, method, path) is not None, name


def test_defaults_that_a_put_resets_to_are_those_of_the_store(spec: Any) -> None:
    for name, told in spec["components"]["schemas"]["ProductInput"]["properties"].items():
        assert name in simulator_data.PRODUCT_DEFAULTS
        if "default" in told:
            assert simulator_data.PRODUCT_DEFAULTS[name] == told["default"], name
