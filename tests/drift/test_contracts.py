"""The pinned contract against what the live system says of itself."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.drift.kit import FILE, FLOW, Desk

PINNED = "contracts/s4/A_SalesOrder.json"


def pin(desk: Desk, change: Any) -> None:
    ended = desk("connections", "pull-contract", "s4", "A_SalesOrder", "--env", "dev")
    assert ended.code == 0, ended.err
    path = desk.root / PINNED
    body = json.loads(path.read_text())
    change({one["name"]: one for one in body["fields"]}, body)
    path.write_text(json.dumps(body, indent=1) + "\n")


def live(desk: Desk, *words: str) -> list[dict[str, Any]]:
    return [one for one in desk.drift("--live", "--env", "dev", *words) if one["kind"] == "contract"]


def test_the_same_is_nothing(desk: Desk) -> None:
    pin(desk, lambda fields, body: None)
    assert live(desk) == []


def longer(fields: dict[str, Any], body: Any) -> None:
    fields["PurchaseOrderByCustomer"]["max_length"] = 50


def more(fields: dict[str, Any], body: Any) -> None:
    fields["CustomerPaymentTerms"].pop("max_length")


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        (longer, "A_SalesOrder.PurchaseOrderByCustomer", "takes 35 characters now, it took 50"),
        (more, "A_SalesOrder.CustomerPaymentTerms", "takes 4 characters now, it took any number"),
    ],
)
def test_what_became_narrower_names_the_line(desk: Desk, change: Any, path: str, words: str) -> None:
    pin(desk, change)
    (found,) = live(desk)
    assert (found["path"], found["message"]) == (path, f"{path} {words}")
    name = path.rpartition(".")[2]
    assert found["places"] == [{"file": FILE, "line": desk.line(f"  {name}:"), "used": f"map.{name}"}]


def test_a_field_that_the_system_lacks_and_one_that_nobody_uses(desk: Desk) -> None:
    def change(fields: dict[str, Any], body: Any) -> None:
        unused = {"name": "NobodyUsesIt", "type": "text"}
        gone = {**fields["PaymentMethod"], "name": "OldMethod"}
        body["fields"] += [unused, gone]

    pin(desk, change)
    path = desk.root / FILE
    path.write_text(
        path.read_text().replace("  PaymentMethod:", "  OldMethod:").replace("PaymentMethod: ", "OldMethod: ")
    )
    found = live(desk)
    assert [one["message"] for one in found] == ["A_SalesOrder.OldMethod is gone"]
    assert found[0]["places"][0]["line"] == desk.line("  OldMethod: {")


def test_the_patch_pins_what_is_live(desk: Desk) -> None:
    pin(desk, longer)
    desk.drift("--live", "--env", "dev", "--propose", "p.patch")
    subprocess.run(["git", "apply", "p.patch"], cwd=desk.root, check=True)
    fields = {one["name"]: one for one in json.loads((desk.root / PINNED).read_text())["fields"]}
    assert fields["PurchaseOrderByCustomer"]["max_length"] == 35
    assert live(desk) == []


def test_check_ends_with_1(desk: Desk) -> None:
    pin(desk, longer)
    assert desk("drift", FLOW, "--live", "--env", "dev", "--check").code == 1
    assert desk("drift", FLOW, "--env", "dev", "--check").code == 0
