"""flowrun validate and why as a person or a pipeline calls them."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from frontkit import GOOD, REGISTRY, write_project

from flowrun.cli.main import main
from flowrun.codes import CODES

SMALL = (GOOD / "small.yaml").read_text(encoding="utf-8")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Write files into a project, run a command in it; (exit code, output, errors)."""
    monkeypatch.setattr("flowrun.connector.discover", lambda: REGISTRY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")

    def no_network(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("validate touched the network")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    write_project(tmp_path, {})

    def call(*args: str, files: dict[str, str] | None = None) -> tuple[int, str, str]:
        for name, content in (files or {}).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", encoding="utf-8", newline="") as file:
                file.write(content)
        with pytest.raises(SystemExit) as stopped:
            main(list(args))
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return call


def test_a_good_project(run: Run) -> None:
    code, out, err = run("validate", files={"flows/small.yaml": SMALL})
    assert (code, err) == (0, "")
    assert out == (
        "flows/small.yaml: small: delivered exactly once: after a lost answer the target is asked by "
        "PurchaseOrderByCustomer\n1 flow, 0 errors, 0 lints\n"
    )


def test_the_message_of_the_language_page(run: Run) -> None:
    text = (GOOD / "orders.yaml").read_text(encoding="utf-8").replace('"XC-{{ order.', '"XC-{{ ordr.')
    code, out, _ = run("validate", "flows/orders.yaml", files={"flows/orders.yaml": text})
    line = text[: text.index("ordr")].count("\n") + 1
    assert code == 1
    assert (
        f"flows/orders.yaml:{line}:35: error[FR104]: unknown name 'ordr'\n"
        f'{line:>5} |   PurchaseOrderByCustomer: "XC-{{{{ ordr.order_id }}}}"          # {{{{ }}}} makes it a text template\n'
        "      |                                   ^^^^ did you mean 'order'?\n"
        "      = in scope here: order, vars, env, and the rules big_order, foreign\n"
    ) in out


def test_all_mistakes_of_all_files_in_file_order(run: Run) -> None:
    a = SMALL.replace("flow: small", "flow: a").replace("order.payment_method,", "ordr.payment_method,")
    a = a.replace("alert: on-call", "alert: oncall")
    b = SMALL.replace("flow: small", "flow: b").replace("connection: s4", "connection: s5")
    c = "flow: [\n"
    code, out, _ = run("validate", "--format", "json", files={"flows/a.yaml": a, "flows/b.yaml": b, "flows/c.yaml": c})
    found = json.loads(out)["findings"]
    assert code == 1
    assert [(f["file"], f["code"]) for f in found] == [
        ("flows/a.yaml", "FR104"),
        ("flows/a.yaml", "FR179"),
        ("flows/b.yaml", "FR151"),
        ("flows/c.yaml", "FR017"),
    ]


def test_lints_fail_only_when_strict(run: Run) -> None:
    linted = SMALL.replace("title: The smallest flow that creates something", "title: Order #5")
    files = {"flows/small.yaml": linted}
    assert run("validate", files=files)[0] == 0
    assert run("validate", "--strict")[0] == 1


def test_usage_mistakes_exit_with_2(run: Run, tmp_path: Path) -> None:
    code, _, err = run("validate", "flows/none.yaml")
    assert (code, err) == (2, "error: there is no file or folder 'flows/none.yaml'\n")
    (tmp_path / "flowrun.yaml").unlink()
    code, _, err = run("validate")
    assert code == 2
    assert "no flowrun.yaml" in err and "flowrun init" in err


MIXED = {
    "flows/a.yaml": SMALL.replace("order.payment_method,", "ordr.payment_method,"),
    "flows/b,c.yaml": SMALL.replace("flow: small", "flow: b").replace("title: The smallest", "title: The #smallest"),
}


def test_every_format_tells_the_same(run: Run) -> None:
    _, text, _ = run("validate", files=MIXED)
    places = re.findall(r"^(\S+):(\d+):(\d+): \w+\[(FR\d+)\]", text, re.MULTILINE)
    expected = [(file, int(line), int(column), code) for file, line, column, code in places]
    assert len(expected) == 2

    found = json.loads(run("validate", "--format", "json")[1])["findings"]
    assert [(f["file"], f["line"], f["column"], f["code"]) for f in found] == expected

    sarif = json.loads(run("validate", "--format", "sarif")[1])["runs"][0]
    physical = [r["locations"][0]["physicalLocation"] for r in sarif["results"]]
    assert [
        (p["artifactLocation"]["uri"], p["region"]["startLine"], p["region"]["startColumn"], r["ruleId"])
        for p, r in zip(physical, sarif["results"], strict=True)
    ] == [(file.replace(",", "%2C"), line, column, code) for file, line, column, code in expected]
    assert {rule["id"] for rule in sarif["tool"]["driver"]["rules"]} == {code for *_, code in expected}

    github = re.findall(r"^::(\w+) file=(.*?),line=(\d+),col=(\d+).*title=(FR\d+)::",
                        run("validate", "--format", "github")[1], re.MULTILINE)  # fmt: skip
    assert [(f.replace("%2C", ","), int(line), int(col), code) for _, f, line, col, code in github] == expected
    assert [level for level, *_ in github] == ["error", "notice"]

    gitlab = json.loads(run("validate", "--format", "gitlab")[1])
    assert [(g["location"]["path"], g["location"]["lines"]["begin"], g["check_name"]) for g in gitlab] == [
        (file, line, code) for file, line, _, code in expected
    ]
    assert len({g["fingerprint"] for g in gitlab}) == 2

    junit = ElementTree.fromstring(run("validate", "--format", "junit")[1])
    assert [case.get("name") for case in junit.iter("testcase")] == ["flows/a.yaml", "flows/b,c.yaml"]
    assert [one.get("type") for one in junit.iter("failure")] == ["FR104"]
    assert junit.get("failures") == "1"


def test_fix_mends_what_is_certain_and_keeps_comments(run: Run, tmp_path: Path) -> None:
    broken = (
        SMALL.replace("order.payment_method,", "order.paymet_method,")
        .replace("lookup: payment }", "lokup: paymnt }   # a comment, kept")
        .replace("alert: on-call }", "alert: oncall } # and this")
        .replace("env.sales_org", '"1710"')
        .replace("flowrun: 1\n", "\ufeffflowrun: 1\r\n", 1)
    )
    code, out, err = run("validate", "--fix", files={"flows/small.yaml": broken})
    with (tmp_path / "flows/small.yaml").open(encoding="utf-8", newline="") as file:
        mended = file.read()
    assert "{ from: order.payment_method, lookup: payment }   # a comment, kept" in mended
    assert 'SalesOrganization: { value: "1710" }' in mended
    assert "# and this" in mended and mended.startswith("\ufeffflowrun: 1\r\n")
    assert code == 0, out + mended
    assert re.match(r"mended \d+ places\n", err)


def test_fix_leaves_a_good_file_alone(run: Run, tmp_path: Path) -> None:
    run("validate", "--fix", files={"flows/small.yaml": SMALL})
    assert (tmp_path / "flows/small.yaml").read_text(encoding="utf-8") == SMALL


def test_an_ignored_finding_is_gone_and_the_flow_is_good(run: Run) -> None:
    above = SMALL.replace("title: The smallest", "# flowrun: ignore[FR008]\ntitle: The #smallest")
    code, out, _ = run("validate", "--strict", files={"flows/small.yaml": above})
    assert (code, out.splitlines()[-1]) == (0, "1 flow, 0 errors, 0 lints")
    value = SMALL.replace("title: The smallest", 'title: "# flowrun: ignore[FR008]"\nowner: "x" #y\n#').replace(
        "\nowner: order-to-cash team", ""
    )
    _, out, _ = run("validate", files={"flows/small.yaml": value})
    assert "FR190" not in out, "the words stand in a value, so they are no comment"


def test_a_second_run_is_kept_until_anything_it_looked_at_changes(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import flowrun.flow

    calls: list[int] = []
    real = flowrun.flow.check_project

    def counted(*args: Any) -> Any:
        calls.append(1)
        return real(*args)

    monkeypatch.setattr("flowrun.flow.check_project", counted)
    file = SMALL.replace("table: { CC: D, PP: E }", "file: lookups/countries.csv, find: xcart, return: sap_iso")
    file = file.replace("PaymentMethod: {", "OrganizationDivision: {").replace(
        "PaymentMethod: D", "OrganizationDivision: D"
    )
    first = run("validate", files={"flows/small.yaml": file})
    assert run("validate") == first
    assert len(calls) == 1
    changes = {
        "flows/small.yaml": file + "# more\n",
        "lookups/countries.csv": "xcart,sap_iso\nUS,US\n",
        "flowrun.yaml": (tmp_path / "flowrun.yaml").read_text() + "# more\n",
        "flows/address.yaml": (GOOD / "address.yaml").read_text(),
        "samples/xcart/orders.jsonl": '{"order_id": "1"}\n',
        "contracts/s4/A_SalesOrder.json": '{"name": "A_SalesOrder", "closed": false, "fields": []}',
    }
    for count, (name, content) in enumerate(changes.items(), start=2):
        run("validate", files={name: content})
        assert len(calls) == count, f"{name} is not part of the key"
        run("validate")
        assert len(calls) == count
    monkeypatch.setattr("flowrun.cli.cached.__version__", "99")
    run("validate")
    assert len(calls) == len(changes) + 2
    run("validate", "--no-cache")
    assert len(calls) == len(changes) + 3


def test_a_cached_run_shows_the_same_lines_and_exits_the_same(run: Run) -> None:
    first = run("validate", files=MIXED)
    assert first[0] == 1
    assert run("validate") == first


def test_why(run: Run) -> None:
    code, out, _ = run("why", "fr104")
    assert code == 0
    assert out.startswith("FR104: an unknown name\n\nThe first word of every path must be a name in scope")
    assert run("why")[1].count("\n") == len(CODES)
    code, _, err = run("why", "FR1044")
    assert (code, err) == (2, "error: there is no code FR1044\n  = help: flowrun why lists them\n")


def test_no_colour_when_piped(run: Run) -> None:
    assert "\x1b" not in run("validate", files=MIXED)[1]
