"""flowrun.yaml: found upwards, read without secrets, resolved when a connection is opened."""

from __future__ import annotations

from pathlib import Path

import pytest
from frontkit import GOOD, PROJECT, REGISTRY, write_project

from flowrun.errors import InvalidFlow, ProjectError
from flowrun.flow import check_project, load_flow
from flowrun.flow.model import Each, Expr, First, Literal_, Poll, Webhook
from flowrun.project import EnvRef, SecretRef, load_project
from flowrun.values import Secret


@pytest.fixture
def root(tmp_path: Path) -> Path:
    flows = {f"flows/{name}.yaml": (GOOD / f"{name}.yaml").read_text(encoding="utf-8") for name in ("orders", "stock")}
    return write_project(tmp_path, flows)


def test_found_from_any_folder_below(root: Path) -> None:
    project = load_project(root / "flows")
    assert (project.root, project.name) == (root.resolve(), "shop-to-erp")
    assert load_project(root / "flows" / "orders.yaml").root == root.resolve()


def test_none_above(tmp_path: Path) -> None:
    with pytest.raises(ProjectError) as caught:
        load_project(tmp_path)
    assert caught.value.help == "start a project with: flowrun init"


def test_references_stay_references_until_resolved(root: Path) -> None:
    project = load_project(root)
    spec = project.connections["xcart"]
    key, url = spec.settings["api_key"], spec.settings["base_url"]
    assert isinstance(key, SecretRef) and isinstance(url, EnvRef)
    assert spec.public() == {}
    resolved = project.resolve(spec.settings, {"XCART_URL": "https://shop", "FLOWRUN_SECRET_XCART_API_KEY": "k1"})
    assert resolved == {"base_url": "https://shop", "api_key": Secret("k1")}
    assert "k1" not in repr(resolved) and resolved["api_key"].reveal() == "k1"


def test_where_a_secret_is_looked_for_in_order(root: Path) -> None:
    text = PROJECT.replace("project: shop-to-erp", "project: shop-to-erp\nsecrets: .secrets")
    write_project(root, {"flowrun.yaml": text, ".secrets/xcart_api_key": "from a file\n"})
    (root / ".secrets/xcart_api_key").chmod(0o600)
    project = load_project(root)
    ref = project.connections["xcart"].settings["api_key"]
    assert project.resolve(ref, {}).reveal() == "from a file"
    assert project.resolve(ref, {"XCART_API_KEY": "plain"}).reveal() == "plain"
    both = {"XCART_API_KEY": "plain", "FLOWRUN_SECRET_XCART_API_KEY": "ours"}
    assert project.resolve(ref, both).reveal() == "ours"


def test_a_secret_that_is_nowhere_names_the_variable_to_set(root: Path) -> None:
    project = load_project(root)
    with pytest.raises(ProjectError) as caught:
        project.resolve(project.connections["xcart"].settings, {"XCART_URL": "https://shop"})
    assert "flowrun.yaml:12:14: the secret 'xcart_api_key' is not set" in caught.value.message
    assert "FLOWRUN_SECRET_XCART_API_KEY" in caught.value.help
    with pytest.raises(ProjectError, match="the variable XCART_URL is not set"):
        project.resolve(project.connections["xcart"].settings["base_url"], {})


def test_an_environment_changes_a_connection(root: Path) -> None:
    text = PROJECT.replace(
        "sandbox: [s4, xcart] }", 'sandbox: [s4, xcart], connections: { s4: { base_url: "https://dev" } } }'
    )
    project = load_project(write_project(root, {"flowrun.yaml": text}))
    dev = project.environment("dev")
    assert (dev.sandbox, dev.values["sales_org"]) == (("s4", "xcart"), "1710")
    assert project.connection("s4", dev).settings["base_url"] == "https://dev"
    assert isinstance(project.connection("s4", project.environment("test")).settings["base_url"], EnvRef)
    with pytest.raises(ProjectError) as caught:
        project.environment("tset")
    assert caught.value.help == "did you mean 'test'?"


@pytest.mark.parametrize(
    ("old", "new", "codes"),
    [
        ("connections:", "conections:", ["FR030", "FR151", "FR151"]),
        ("api_key: {", "api_kee: {", ["FR034", "FR030"]),
        ("rate: 20/s", "rat: 20/s", ["FR030"]),
        ("timeout: 30s", "timeout: long", ["FR039"]),
        ("basic: {", "basik: {", ["FR030"]),
        ("user: { env: S4_USER }, ", "", ["FR034"]),
        ("password: { secret: s4_password }", "password: hunter2", ["FR197"]),
        ("base_url: { env: XCART_URL }", "base_url: shop.example", ["FR210"]),
        ("also: [finance]", "also: [finanze]", ["FR179"]),
        ("sandbox: [s4, xcart]", "sandbox: [s4, cart]", ["FR151"]),
        ("sandbox: [s4, xcart]", "sandbox: cart", ["FR151"]),
        ("sandbox: [s4, xcart]", "sandbox: { s4: true }", ["FR031"]),
        ("project: shop-to-erp", "project: shop-to-erp\non_error: { netwrk: { dead_letter: x } }", ["FR160"]),
        ("project: shop-to-erp", "project: shop-to-erp\nowners: { a: { secret: x } }", ["FR196"]),
        ("flowrun: 1", "flowrun: 9", ["FR021"]),
    ],
)
def test_mistakes_in_flowrun_yaml(tmp_path: Path, old: str, new: str, codes: list[str]) -> None:
    assert old in PROJECT
    write_project(tmp_path, {"flowrun.yaml": PROJECT.replace(old, new, 1)})
    found = check_project(load_project(tmp_path), REGISTRY).diagnostics
    assert [d.code for d in found] == codes
    assert "hunter2" not in repr(found)


def test_default_policies_stand_for_classes_a_flow_does_not_name(root: Path) -> None:
    text = (
        PROJECT
        + "on_error:\n  conflict: { flag: review }\n  network: { retry: { times: 1, wait: 1s, max_wait: 1s } }\n"
    )
    flow = load_flow("xcart-order-to-s4", load_project(write_project(root, {"flowrun.yaml": text})), REGISTRY)
    assert flow.on_error["conflict"].flag == "review"
    assert flow.on_error["network"].retry is not None and flow.on_error["network"].retry.times == 8  # the flow's own
    assert flow.on_error["other"].dead_letter == "orders"


def test_what_example_1_becomes(root: Path) -> None:
    flow = load_flow("xcart-order-to-s4", load_project(root), REGISTRY)
    assert flow.source.trigger == Webhook("order.placed")
    assert (flow.target.once, flow.target.find_existing) == ("find", ("PurchaseOrderByCustomer",))
    fields = {one.path[0]: one for one in flow.map.fields}
    first = fields["SalesOrderType"].value.origin
    assert isinstance(first, First) and [case.when is not None for case in first.cases] == [True, True, False]
    assert fields["DistributionChannel"].value.origin == Literal_("10")
    items = fields["to_Item"].value.origin
    assert isinstance(items, Each) and (items.name, items.number, items.at_least) == ("line", "n", 1)
    text = fields["PurchaseOrderByCustomer"]
    assert isinstance(text.value.origin, Expr) and text.value.origin.language == "template"
    assert text.contract is not None and text.contract.max_length == 35
    assert flow.tests[1].given["order"]["billing"] == {"country": "DE"}
    assert flow.tests[1].given["order"]["customer_id"] == "42"
    assert load_flow(str(root / "flows/orders.yaml"), load_project(root), REGISTRY).hash == flow.hash


def test_what_example_2_becomes(root: Path) -> None:
    flow = load_flow("s4-stock-to-xcart", load_project(root), REGISTRY)
    assert flow.source.trigger == Poll(600, None, 0, True, 1000)
    assert flow.source.filter == {"Plant": ("1710", "1720"), "InventoryStockType": "01"}
    assert flow.source.group_by is not None
    assert flow.target.guard is not None and str(flow.target.guard.max_share) == "0.4"
    assert flow.lookups["xcart_ids"].on_miss.action == "skip"


def test_the_hash_follows_what_decides_the_outcome(root: Path) -> None:
    before = load_flow("xcart-order-to-s4", load_project(root), REGISTRY).hash
    write_project(root, {"lookups/safety_stock.csv": "sku,qty\nAB-1,9\n"})
    assert load_flow("xcart-order-to-s4", load_project(root), REGISTRY).hash == before, "another flow's table"
    write_project(root, {"lookups/countries.csv": "xcart,sap_iso\nUS,UX\n"})
    assert load_flow("xcart-order-to-s4", load_project(root), REGISTRY).hash != before


def test_a_flow_that_is_not_there_or_not_right(root: Path) -> None:
    with pytest.raises(ProjectError) as caught:
        load_flow("xcart-order-to-s5", load_project(root), REGISTRY)
    assert caught.value.help == "did you mean 'xcart-order-to-s4'?"
    text = (root / "flows/orders.yaml").read_text(encoding="utf-8").replace("env.sales_org", "env.sales_orgg")
    write_project(root, {"flows/orders.yaml": text})
    with pytest.raises(InvalidFlow) as wrong:
        load_flow("xcart-order-to-s4", load_project(root), REGISTRY)
    assert [d.code for d in wrong.value.diagnostics] == ["FR108"]


def test_files_that_are_no_text(root: Path) -> None:
    (root / "flows/latin.yaml").write_bytes("flow: größe\n".encode("latin-1"))
    (root / "flows/large.yaml").write_bytes(b"a" * 4_000_001)
    (root / "flows/gone.yaml").symlink_to(root / "nowhere")
    checked = check_project(load_project(root), REGISTRY)
    assert [(d.span.file, d.code) for d in checked.diagnostics if d.severity == "error"] == [
        ("flows/large.yaml", "FR001"),
        ("flows/latin.yaml", "FR002"),
    ]
    assert len(checked.flows) == 2


def test_an_ignored_contract_error_leaves_a_flow_that_runs(root: Path) -> None:
    text = (root / "flows/orders.yaml").read_text(encoding="utf-8")
    custom = text.replace(
        "\n  to_Partner:", "\n  YY1_Channel_SDH: { value: WEB }   # flowrun: ignore[FR200]\n\n  to_Partner:"
    )
    write_project(root, {"flows/orders.yaml": custom})
    flow = load_flow("xcart-order-to-s4", load_project(root), REGISTRY)
    assert next(one for one in flow.map.fields if one.path == ("YY1_Channel_SDH",)).contract is None


def test_a_fragment_is_checked_where_it_is_used_and_said_once(root: Path) -> None:
    fragment = (GOOD / "address.yaml").read_text(encoding="utf-8").replace("a.city", "a.town")
    use = "\n  ShipTo: { use: address, with: { a: order.billing } }\n\n  to_Partner:"
    one = (root / "flows/orders.yaml").read_text(encoding="utf-8").replace("\n  to_Partner:", use)
    two = one.replace("flow: xcart-order-to-s4", "flow: another")
    write_project(root, {"flows/orders.yaml": one, "flows/two.yaml": two, "flows/address.yaml": fragment})
    checked = check_project(load_project(root), REGISTRY)
    errors = [(d.span.file, d.span.line, d.code) for d in checked.diagnostics if d.severity == "error"]
    assert errors == [("flows/address.yaml", 5, "FR108")]
    assert [flow.name for flow in checked.flows] == ["s4-stock-to-xcart"]
