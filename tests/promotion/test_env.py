"""What differs between two environments, in effect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.promotion.conftest import Desk


def changes(desk: Desk, *words: Any) -> list[tuple[str, str, str, str]]:
    ended = desk("env", "diff", *words, "--format", "json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)["changes"]
    return [(one["kind"], one["name"], one.get("a", ""), one.get("b", "")) for one in found]


def test_values_are_told_with_the_flows_that_read_them(desk: Desk) -> None:
    ended = desk("env", "diff", "qa", "prod")
    assert ended.code == 0
    assert "sales_org: 1710 → 1010   [xcart-orders-to-s4]   (flowrun.yaml:" in ended.out
    assert "qa → prod: 2 differences" in ended.out
    assert desk("env", "diff", "qa", "prod", "--check").code == 1
    assert desk("env", "diff", "qa", "qa", "--check").code == 0


def test_systems_settings_and_the_store(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.edit(
        "flowrun.yaml", "  prod:\n",
        "  prod:\n    store: { env: STATE }\n    connections: { s4: { limits: { rate: 5/s } } }\n",
    )  # fmt: skip
    found = changes(desk, "dev", "prod")
    assert ("connection", "s4", "s4hana, simulated", "s4hana, the real one") in found
    assert ("setting", "s4.limits.rate", "20/s", "5/s") in found
    assert ("store", "state", "SQLite, in the project", "{ env: STATE }") in found
    assert ("secret", "s4_client_id", "absent", "missing") in found
    assert ("variable", "S4_URL", "absent", "missing") in found


def test_secrets_are_named_and_never_shown(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWRUN_SECRET_S4_CLIENT_ID", "canary-7731")
    for words in (
        ("env", "list"),
        ("env", "show", "prod"),
        ("env", "diff", "dev", "prod"),
        ("env", "diff", "dev", "prod", "--format", "json"),
    ):
        ended = desk(*words)
        assert "canary-7731" not in ended.out + ended.err
        assert "s4_client_secret" in ended.out
    assert ("secret", "s4_client_id", "absent", "set") in changes(desk, "dev", "prod")
    listed = json.loads(desk("env", "list", "--format", "json").out)
    assert {one["name"]: "secret s4_client_id" in one["missing"] for one in listed} == dict.fromkeys(
        ("dev", "test", "qa", "prod"), False
    )
    assert [one["simulated"] for one in listed] == [["xcart", "s4"], [], [], []]


def test_against_another_place_flows_tables_and_contracts_are_compared(desk: Desk) -> None:
    desk.edit("lookups/payment_methods.csv", "CC,", "XX,")
    desk.edit("flows/xcart-s4hana/orders-to-s4.yaml", "order.total_amount > 1000", "order.total_amount > 900")
    (desk.root / "contracts/s4").mkdir(parents=True)
    (desk.root / "contracts/s4/A_Thing.json").write_text('{"name": "A_Thing"}')
    found = changes(desk, "prod", "prod", "--other", "HEAD")
    kinds = {kind for kind, *_ in found}
    assert kinds == {"flow", "contract", "row"}
    rows = {(name.partition(": ")[2], a == "absent", b == "absent") for kind, name, a, b in found if kind == "row"}
    assert {("XX", False, True), ("CC", True, False)} <= rows
    assert [name for kind, name, *_ in found if kind == "contract"] == ["s4/A_Thing"]


def test_the_password_of_an_address_is_not_shown(desk: Desk) -> None:
    desk.edit("flowrun.yaml", "  prod:\n", '  prod:\n    store: "postgresql://me:hunter2@db/state"\n')
    found = desk("env", "show", "prod")
    assert "postgresql://***@db/state" in found.out and "hunter2" not in found.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("diff", "qa", "prd"), "did you mean 'prod'?"),
        (("show", "nothing"), "flowrun.yaml has: dev, test, qa, prod"),
        (("diff", "qa", "prod", "--other", "nowhere"), "neither a file nor a git revision 'nowhere'"),
        (("diff", "qa", "prod", "--other", "flowrun.yaml"), "this is no bundle"),
    ],
)
def test_wrong_words(desk: Desk, words: tuple[str, ...], said: str) -> None:
    ended = desk("env", *words)
    assert ended.code == 2 and said in ended.err


def test_who_approves_is_checked(desk: Desk) -> None:
    desk.edit("flowrun.yaml", "  prod:\n", "  prod:\n    approvals: 2\n    approvers: { anna: nokey }\n")
    ended = desk("validate", "--format", "json")
    found = [(one["code"], one["message"]) for one in json.loads(ended.out)["findings"]]
    assert found == [
        ("FR034", "2 approvals can never be had from 1 approvers"), ("FR210", "'anna' has no public key"),
    ]  # fmt: skip
