"""What arrives that has changed its shape: found over records in the store, with the lines that it hurts."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from flowrun.values import encode_json
from tests.drift.kit import FILE, FLOW, Change, Desk, renamed


def items(change: Change) -> Change:
    def each(order: dict[str, Any]) -> None:
        for item in order["items"]:
            change(item)

    return each


def put(name: str, value: Any) -> Change:
    return lambda order: order.__setitem__(name, value)


def test_nothing_changed_is_nothing(desk: Desk) -> None:
    desk.came_in(100)
    desk.came_in(50)
    ended = desk("drift", FLOW, "--check", "--recent", "50")
    assert (ended.code, ended.out) == (0, f"{FLOW}: 0 findings   (50 recent records against 100 before them)\n")


def test_a_renamed_field_with_every_line_that_reads_it(desk: Desk) -> None:
    desk.came_in(100)
    desk.came_in(50, renamed("customer_id", "customerId"))
    (found,) = desk.drift("--recent", "50", "--check", code=1)
    assert (found["kind"], found["path"], found["renamed_to"], found["share"]) == (
        "renamed",
        "order.customer_id",
        "customerId",
        1,
    )
    assert found["before"]["text"].startswith("customer_id: '") and found["after"]["text"].startswith("customerId: '")
    lines = [
        n
        for n, line in enumerate((desk.root / FILE).read_text().split("tests:")[0].splitlines(), 1)
        if "order.customer_id" in line
    ]
    assert lines and sorted({place["line"] for place in found["places"]}) == lines
    assert all(place["file"] == FILE for place in found["places"])


def test_the_edit_keeps_comments_and_everything_else(desk: Desk) -> None:
    desk.came_in(100)
    desk.came_in(50, renamed("customer_id", "customerId"))
    before = (desk.root / FILE).read_text(encoding="utf-8")
    ended = desk("drift", FLOW, "--recent", "50", "--propose", "drift.patch")
    assert ended.code == 0 and "git apply drift.patch" in ended.err
    assert (desk.root / FILE).read_text(encoding="utf-8") == before, "nothing is applied without a person"
    subprocess.run(["git", "apply", "drift.patch"], cwd=desk.root, check=True)
    rules, mark, tests = before.partition("\ntests:")
    assert (desk.root / FILE).read_text(encoding="utf-8") == rules.replace(
        "order.customer_id", "order.customerId"
    ) + mark + tests


def test_a_renamed_field_of_rows(desk: Desk) -> None:
    desk.came_in(100)
    desk.came_in(40, items(renamed("sku", "product_sku")))
    (found,) = desk.drift("--recent", "40")
    assert (found["kind"], found["path"], found["renamed_to"]) == ("renamed", "order.items[].sku", "product_sku")
    assert {place["line"] for place in found["places"]} >= {desk.line("line.sku")}


@pytest.mark.parametrize(
    ("kind", "path", "change", "words"),
    [
        ("gone", "order.currency", lambda order: order.pop("currency"), "is there in 0% of recent records, before in 100%"),
        ("null", "order.payment_method", put("payment_method", None), "is null in 100% of recent records, before in 0%"),
        ("type", "order.billing", put("billing", "US"), "is text in 100% of recent records, before an object"),
        ("type", "order.items", lambda order: order.__setitem__("items", order["items"][0]), "is an object in 100% of recent records, before a list"),
        ("type", "order.customer_id", put("customer_id", {"id": "42"}), "is an object in 100% of recent records, before text"),
        ("code", "order.status", put("status", "Z"), "holds 'Z', which was never there before"),
        ("range", "order.items[].price", items(lambda item: item.__setitem__("price", "-1.00")), "is below zero, which it never was"),
        ("range", "order.total_amount", put("total_amount", "99999999.00"), "is more than 10 times what it ever was"),
    ],
)  # fmt: skip
def test_each_kind(desk: Desk, kind: str, path: str, change: Change, words: str) -> None:
    desk.came_in(100)
    desk.came_in(40, change)
    found = [one for one in desk.drift("--recent", "40") if (one["kind"], one["path"]) == (kind, path)]
    assert len(found) == 1 and words in found[0]["message"], desk.drift("--recent", "40")
    assert found[0]["places"] and found[0]["after"]["key"] and found[0]["before"]["key"]


def test_what_is_too_long_for_the_target(desk: Desk) -> None:
    desk.came_in(100, put("payment_terms", "0001"))
    desk.came_in(40, put("payment_terms", "NET-30-DAYS"))
    found = {one["kind"]: one for one in desk.drift("--recent", "40")}
    assert "has up to 11 characters, before 4; the target takes 4" in found["length"]["message"]
    assert [place["used"] for place in found["length"]["places"]] == ["map.CustomerPaymentTerms"]


def test_a_new_code_that_no_table_has_a_row_for(desk: Desk) -> None:
    desk.came_in(100)
    desk.came_in(39)
    desk.came_in(1, put("payment_method", "KLARNA"))
    found = desk.drift("--recent", "40", "--propose", "drift.patch")
    assert [(one["kind"], one["lookup"]) for one in found] == [("no row", "payment")]
    assert "lookup 'payment' has no row for 'KLARNA'" in found[0]["message"]
    assert found[0]["places"] == [{"file": FILE, "line": desk.line("lookup: payment"), "used": "map.PaymentMethod"}]
    patch = (desk.root / "drift.patch").read_text()
    assert "+++ b/lookups/payment_methods.csv" in patch and "+KLARNA,FILL-IN," in patch
    table = (desk.root / "lookups/payment_methods.csv").read_text()
    subprocess.run(["git", "apply", "drift.patch"], cwd=desk.root, check=True)
    assert (desk.root / "lookups/payment_methods.csv").read_text() == table + "KLARNA,FILL-IN,\n"


def test_a_few_are_chance_and_many_are_not(desk: Desk) -> None:
    """A field that half of the records have has it a little more or less often."""
    sometimes = lambda order: order.pop("currency") if int(order["order_id"]) % 2 else None  # noqa: E731
    seldom = lambda order: order.pop("currency") if int(order["order_id"]) % 5 else None  # noqa: E731
    desk.came_in(100, sometimes)
    rather = lambda order: order.pop("currency") if int(order["order_id"]) % 5 < 3 else None  # noqa: E731
    desk.came_in(50, rather)  # 40 % instead of 50
    assert desk.drift("--recent", "50") == []
    desk.came_in(50, seldom)
    (found,) = desk.drift("--recent", "50")
    assert (found["kind"], found["path"]) == ("gone", "order.currency") and 0.2 < found["share"] < 0.4


def test_below_the_share_nothing_is_said(desk: Desk) -> None:
    drop = lambda order: order.pop("currency") if int(order["order_id"]) % 4 == 0 else None  # noqa: E731
    desk.came_in(100)
    desk.came_in(40, drop)
    assert [one["path"] for one in desk.drift("--recent", "40")] == ["order.currency"]
    text = (desk.root / "flowrun.yaml").read_text()
    (desk.root / "flowrun.yaml").write_text(text + "drift: { share: 30% }\n")
    assert desk.drift("--recent", "40") == []


def test_too_few_are_said_to_be(desk: Desk) -> None:
    desk.came_in(5)
    ended = desk("drift", FLOW)
    assert ended.code == 0 and "too few to compare" in ended.out
    assert json.loads(desk("drift", "--format", "json").out)["flows"][2]["enough"] is False


def test_records_of_a_file_are_seen_before_they_come_in(desk: Desk) -> None:
    desk.came_in(100)
    lines = [encode_json(one) for one in desk.made(30, renamed("currency", "currency_code"))]
    (desk.root / "new.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    (found,) = desk.drift("--input", "new.jsonl")
    assert found["renamed_to"] == "currency_code" and found["after"]["key"] == "record 1"


def test_masked_values_are_not_shown(desk: Desk) -> None:
    text = (desk.root / "flowrun.yaml").read_text()
    (desk.root / "flowrun.yaml").write_text(text + "privacy: { mask: [customer_id, payment_method, email, status] }\n")
    desk.came_in(100, put("email", "canary-5513"))
    desk.came_in(
        40,
        put("customer_id", {"id": "canary-5511"}),
        put("payment_method", "CANARY-5512"),
        put("email", 55145514),
        put("status", "canary-5515"),
    )
    for form in ("text", "json"):
        ended = desk("drift", FLOW, "--recent", "40", "--format", form)
        assert "order.customer_id is an object" in ended.out and "has no row for ***" in ended.out
        assert "order.status holds ***, which" in ended.out
        assert "order.email is a number" in ended.out and "email: '***'" in ended.out
        assert "canary" not in (ended.out + ended.err).lower() and "5514" not in ended.out
    ended = desk("drift", FLOW, "--recent", "40", "--propose", "drift.patch")
    assert "canary" not in (desk.root / "drift.patch").read_text().lower() + ended.err.lower()


def test_nothing_is_written_but_the_patch(desk: Desk) -> None:
    desk.came_in(100)
    desk.came_in(40, renamed("customer_id", "customerId"))
    before = {path: path.read_bytes() for path in desk.root.rglob("*") if path.is_file() and path.suffix != ".db"}
    desk("drift", "--propose", "p.patch")
    after = {path: path.read_bytes() for path in desk.root.rglob("*") if path.is_file() and path.suffix != ".db"}
    assert set(after) - set(before) <= {desk.root / "p.patch"}
    assert all(after[path] == before[path] for path in before)


def test_line_ends_and_a_byte_order_mark_stay(desk: Desk) -> None:
    path = desk.root / FILE
    raw = path.read_bytes()
    path.write_bytes(b"\xef\xbb\xbf" + raw.replace(b"\n", b"\r\n"))
    desk.came_in(100)
    desk.came_in(50, renamed("customer_id", "customerId"))
    desk("drift", FLOW, "--recent", "50", "--propose", "drift.patch")
    subprocess.run(["git", "apply", "drift.patch"], cwd=desk.root, check=True)
    rules, mark, tests = raw.partition(b"\ntests:")
    wanted = rules.replace(b"order.customer_id", b"order.customerId") + mark + tests
    assert path.read_bytes() == b"\xef\xbb\xbf" + wanted.replace(b"\n", b"\r\n")


def test_wrong_words(desk: Desk) -> None:
    Path("x.jsonl").write_text("{}\n")
    assert "did you mean 'xcart-orders-to-s4'?" in desk("drift", "xcart-order-to-s4").err
    assert "--input needs the FLOW" in desk("drift", "--input", "x.jsonl").err
    text = (desk.root / "flowrun.yaml").read_text()
    (desk.root / "flowrun.yaml").write_text(text + "drift: { share: 5, every: 0m, alert: nobody, pause: yes }\n")
    found = json.loads(desk("validate", "--format", "json").out)["findings"]
    assert [one["code"] for one in found] == ["FR038", "FR039", "FR179", "FR036"]
