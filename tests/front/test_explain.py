"""flowrun explain, dry runs and recorded tests: what is asked of the store, and that asking leaves nothing behind."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from clikit import FLOW, Shell

from flowrun.store import Store
from flowrun.testing.recording import append_test, mask


@pytest.fixture
def shell(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.chdir(project)
    monkeypatch.delenv("FLOWRUN_STORE", raising=False)
    return Shell(project, capsys)


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_cross_references_come_from_the_store_of_the_environment(shell: Shell) -> None:
    orders = shell.orders(1001, customer_id="42")
    shell.know("42", "17100001", env="qa")
    words = ("explain", FLOW, "--input", orders, "--field", "SoldToParty")
    code, out, err = shell(*words, "--env", "qa")
    assert (code, err) == (0, "")
    assert out.startswith("SoldToParty = '0017100001'")
    code, out, err = shell(*words, "--env", "dev")
    assert code == 1
    assert err == "note: there is no store yet, so lookup 'customers' has no row; --xref FILE gives some\n"
    assert "customers has no row for '42'" in shell("explain", FLOW, "--input", orders, "--env", "dev")[1]


def test_a_given_file_stands_before_the_store(shell: Shell) -> None:
    orders = shell.orders(1001, customer_id="42")
    shell.know("42", "17100001")
    (shell.root / "x.yaml").write_text('customers: { "42": "99" }\n')
    code, out, _ = shell(
        "explain", FLOW, "--input", orders, "--field", "SoldToParty", "--xref", "x.yaml", "--env", "dev"
    )
    assert (code, out.splitlines()[0].split("   ")[0]) == (0, "SoldToParty = '0000000099'")


def test_what_the_store_holds_is_explained_by_key_and_by_number(shell: Shell) -> None:
    orders = shell.orders(1001, 1002, customer_id="42")
    shell.know("42", "17100001")
    shell("run", FLOW, "--input", orders, "--env", "dev")
    listed = shell("runs", "1", "--env", "dev")[1].splitlines()
    numbers = {line.split()[3]: line.split()[0] for line in listed}
    assert set(numbers) == {"1001", "1002"}
    for words in (("--key", "1002"), ("--record", numbers["1002"])):
        code, out, err = shell("explain", FLOW, *words, "--field", "PurchaseOrderByCustomer", "--env", "dev")
        assert (code, err) == (0, "")
        first, second = out.splitlines()[:2]
        assert re.fullmatch(rf"1002: record {numbers['1002']} of run 1, \w+; as the flow is now", first)
        assert second.startswith("PurchaseOrderByCustomer = 'XC-1002'")
    found = json.loads(shell("explain", FLOW, "--key", "1001", "--env", "dev", "--format", "json")[1])
    assert {"SoldToParty", "to_Item[0].Material"} <= {one["field"] for one in found}


def test_the_corrected_record_is_the_one_that_is_explained(shell: Shell) -> None:
    shell.know("42", "17100001")
    shell("run", FLOW, "--input", shell.orders(1001, customer_id="77"), "--env", "dev")
    assert shell("explain", FLOW, "--key", "1001", "--env", "dev")[0] == 1
    shell("dlq", "edit", FLOW, "1001", "--set", "customer_id=42", "--env", "dev")
    code, out, _ = shell("explain", FLOW, "--key", "1001", "--field", "SoldToParty", "--env", "dev")
    assert code == 0 and "dead, corrected" in out and "'0017100001'" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "which record? --input FILE, --key KEY of one in the store, or --record NUMBER"),
        (("--record", "1", "--key", "2"), "--record names one record of the store"),
        (("--live", "--xref", "orders.jsonl", "--key", "1"), "--live takes cross-references from the store"),
        (("--key", "1001", "--env", "qa"), "environment 'qa' has no store yet\n  = help: explain a record of a file: --input FILE"),
        (("--key", "1010"), "no record of xcart-orders-to-s4 has the key '1010' in environment 'dev'\n  = help: did you mean '1001'?"),
        (("--record", "99"), "no record of xcart-orders-to-s4 has the number 99"),
        (("--input", "orders.jsonl", "--key", "1011"), "no record of orders.jsonl has the key '1011'\n  = help: did you mean '1001'?"),
        (("--input", "empty.jsonl"), "empty.jsonl holds no records"),
        (("--input", "orders.jsonl", "--field", "SoldToPart"), "builds no field 'SoldToPart' for this record\n  = help: did you mean 'SoldToParty'?"),
    ],
)  # fmt: skip
def test_what_cannot_be_explained_is_said(shell: Shell, words: tuple[str, ...], said: str) -> None:
    (shell.root / "empty.jsonl").write_text("\n")
    orders = shell.orders(1001, customer_id="42")
    shell.know("42", "17100001")
    shell("run", FLOW, "--input", orders, "--env", "dev")
    code, _, err = shell("explain", FLOW, *words, *(() if "--env" in words else ("--env", "dev")))
    assert code == 2
    assert said in err


def test_asking_leaves_nothing_behind(shell: Shell) -> None:
    orders = shell.orders(1001, customer_id="42")
    before = files(shell.root)
    shell("explain", FLOW, "--input", orders, "--env", "qa")
    shell("explain", FLOW, "--key", "1", "--env", "qa")
    assert files(shell.root) == before
    code, _, err = shell("run", FLOW, "--input", orders, "--dry-run", "--env", "dev")
    assert code == 1 and "dry run: 1 records; nothing was sent or held" in err
    assert not shell.store().exists()
    assert not [name for name in files(shell.root) - before if "state" in name]


def test_a_dry_run_looks_up_in_the_store_and_changes_nothing_in_it(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = shell.orders(1001, customer_id="42")
    shell.know("42", "17100001")

    def written(*args: object) -> None:
        raise AssertionError("a dry run changes nothing")

    for name in ("add", "take", "begin_run", "_change"):
        monkeypatch.setattr(Store, name, written, raising=False)
    code, out, _ = shell("run", FLOW, "--input", orders, "--dry-run", "--env", "dev")
    assert code == 0
    sent = json.loads(out)
    assert (sent["key"], sent["action"], sent["body"]["SoldToParty"]) == ("1001", "create", "0017100001")


# -- tests from a run --------------------------------------------------------------------------------------------


def test_a_run_becomes_masked_tests_that_pass(shell: Shell) -> None:
    shell.know("42", "17100001")
    file = shell.root / "flows/xcart-s4hana/orders-to-s4.yaml"
    before = file.read_text(encoding="utf-8")
    orders = shell.orders(1001, 1002, customer_id="42", email="ann@example.org", note="ring twice")
    lines = (shell.root / orders).read_text().splitlines()
    refused = {**json.loads(lines[0]), "order_id": "1003", "customer_id": "77"}
    skipped = {**json.loads(lines[0]), "order_id": "1004", "status": "Q"}
    (shell.root / orders).write_text("\n".join([*lines, json.dumps(refused), json.dumps(skipped)]) + "\n")
    shell("run", FLOW, "--input", orders, "--env", "dev")
    code, out, err = shell("test", "--record", "1", "--env", "dev")
    assert (code, err) == (0, "")
    assert out.startswith("added 4 tests to flows/xcart-s4hana/orders-to-s4.yaml")
    after = file.read_text(encoding="utf-8")
    assert after.startswith(before.rstrip("\n"))
    added = after[len(before.rstrip("\n")) :]
    assert "ann@example.org" not in added and "x" * len("ann@example.org") in added
    for kind in ("expect:", "expect_error:", "expect_skipped: only_when"):
        assert kind in added
    code, out, err = shell("test", str(file))
    assert code == 0, out + err
    assert out.count("recorded ") == 4
    assert shell("validate", str(file))[0] == 0


def test_what_was_looked_up_by_a_masked_field_is_found_in_the_test(shell: Shell) -> None:
    """The customer is found by the mail address, which is masked."""
    file = shell.root / "flows/xcart-s4hana/orders-to-s4.yaml"
    text = file.read_text(encoding="utf-8")
    assert text.count("from: order.customer_id") == 1
    file.write_text(text.replace("from: order.customer_id", "from: order.email"), encoding="utf-8")
    for mail, number in (("ann@example.org", "17100001"), ("bob.b@example.org", "17100002")):
        shell.know(mail, number)
        shell("run", FLOW, "--input", shell.orders(1000 + len(mail), email=mail), "--env", "dev")
    for number in ("1", "2"):
        assert shell("test", "--record", number, "--env", "dev")[0] == 0
    added = file.read_text(encoding="utf-8")[len(text) :]
    assert "@example.org" not in added and added.count("expect:") == 2
    for number, length in (("17100001", 15), ("17100002", 17)):
        assert f'"{"x" * length}":"{number}"' in added and f'"SoldToParty":"00{number}"' in added


def test_the_same_run_twice_adds_nothing_twice(shell: Shell) -> None:
    shell.know("42", "17100001")
    shell("run", FLOW, "--input", shell.orders(1001, customer_id="42"), "--env", "dev")
    shell("test", "--record", "1", "--env", "dev")
    once = (shell.root / "flows/xcart-s4hana/orders-to-s4.yaml").read_text()
    code, out, _ = shell("test", "--record", "1", "--env", "dev")
    assert (code, out.startswith("every record of run 1 is a test already")) == (0, True)
    assert (shell.root / "flows/xcart-s4hana/orders-to-s4.yaml").read_text() == once


def test_a_run_that_is_not_there_is_said(shell: Shell) -> None:
    assert "there is no store at" in shell("test", "--record", "1", "--env", "qa")[2]
    shell.know("42", "17100001")
    code, _, err = shell("test", "--record", "7", "--env", "dev")
    assert (code, err) == (2, "error: run 7 took in no records\n  = help: flowrun runs\n")


@pytest.mark.parametrize(
    ("record", "masked"),
    [
        ({"firstname": "Ann", "order_id": "1"}, {"firstname": "xxx", "order_id": "1"}),
        ({"buyer": "ann@example.org", "email": ""}, {"buyer": "x" * 15, "email": ""}),
        ({"phone": 15550100, "qty": 3, "note": True}, {"phone": 11111111, "qty": 3, "note": True}),
        ({"phones": ["1", "22"], "billing": {"Street": "Main 1", "country": "US"}},
         {"phones": ["x", "xx"], "billing": {"Street": "xxxxxx", "country": "US"}}),
    ],
)  # fmt: skip
def test_personal_data_is_masked_and_keeps_its_length(record: dict[str, Any], masked: dict[str, Any]) -> None:
    assert mask(record) == masked


def test_line_ends_of_a_file_stay_as_they_are() -> None:
    text = "flowrun: 1\r\nflow: a\r\ntests:\r\n- name: one\r\n  given: {}\r\n  expect: {}\r\n# the end\r\n"
    added = append_test(text, "a.yaml", "  - name: two\n    given: {}\n    expect: {}\n")
    assert "\n" not in added.replace("\r\n", "")
    assert "\r\n- name: two\r\n  given: {}\r\n" in added and added.endswith("# the end\r\n")
