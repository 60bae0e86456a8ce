"""Golden texts: each notice exactly as a person reads it, and as a webhook gets it."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flowrun.alerts.words import Place, inert, next_command, payload, span, text
from flowrun.cli.main import cli
from flowrun.errors import ERROR_CLASSES
from flowrun.store.alert_book import CONNECTION_KINDS, CREDENTIAL_KINDS
from flowrun.store.alert_rows import Alert, Example, Notice

GOLDEN = Path(__file__).parent / "golden"
T0 = 1777888800.0  # 2026-05-04 10:00:00 UTC
PROD = Place("shop-to-erp", "prod")

RECORDS = Alert(
    id=12, channel="desk", flow="orders", connection="", kind="bad_data", state="open", lasting=True, count=3,
    message="SoldToParty: lookup 'customers' has no row for '77'", place="flows/orders.yaml:33:9",
    examples=(Example("orders", "order-to-cash team", "1007"), Example("orders", "order-to-cash team", "1009")),
    first_at=T0, last_at=T0 + 130, opened_at=T0, settled_at=None, resolved_at=None, told=False, told_count=0,
    next_notice_at=T0, level=0, ack_count=None, ack_at=None, ack_by=None, standing=2,
)  # fmt: skip
SYSTEM = replace(
    RECORDS, id=4, channel="on-call", flow="", connection="s4", kind="network", count=1240, message="no answer in 30 s",
    place="", standing=410, examples=(Example("orders", "order-to-cash team", "1007"), Example("stock", "warehouse team", "AB-1")),
)  # fmt: skip


def notice(event: str, alert: Alert, **more: Any) -> Notice:
    values: dict[str, Any] = {"state": "waiting", "tries": 1, "at": T0 + 1800, "due": T0, **more}
    return Notice(7, "a1b2c3d4e5f60718", event, alert.channel, alert, **values)


NOTICES = {
    "records-opened": notice("opened", RECORDS),
    "one-record-opened": notice("opened", replace(RECORDS, count=1, standing=1, last_at=T0, examples=RECORDS.examples[:1])),
    "records-reminder": notice("reminder", replace(RECORDS, told=True, told_count=1)),
    "records-again": notice("opened", replace(RECORDS, told_count=1)),
    "records-resolved": notice("resolved", replace(RECORDS, resolved_at=T0 + 3900, state="resolved")),
    "records-need-nobody": notice("opened", replace(RECORDS, kind="duplicate", lasting=False, standing=0, message="there as 4711")),
    "system-opened": notice("opened", SYSTEM),
    "system-escalated": notice("escalated", replace(SYSTEM, told=True, told_count=1, level=1)),
    "system-resolved": notice("resolved", replace(SYSTEM, resolved_at=T0 + 300, state="resolved")),
    "credential-expiring": notice("opened", replace(
        SYSTEM, kind="expiring", count=1, last_at=T0, standing=0, examples=(), message="the certificate ends; it expires 2026-05-10 08:00 UTC",
    )),
    "test": notice("test", replace(RECORDS, id=0, flow="test", kind="test", count=1, standing=None, last_at=T0, lasting=False,
                                   place="", examples=(Example("", "anna", ""),), message="A test: this channel works.")),
}  # fmt: skip


def golden(name: str, found: str) -> None:
    path = GOLDEN / name
    if os.environ.get("FLOWRUN_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NOTICES)
def test_as_a_person_reads_it(name: str) -> None:
    golden(f"{name}.txt", text(NOTICES[name], PROD) + "\n")


def test_as_a_webhook_gets_it() -> None:
    body = payload(NOTICES["records-opened"], PROD, "desk")
    golden("records-opened.json", json.dumps(body, indent=1, ensure_ascii=False) + "\n")


def test_no_golden_without_a_notice() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(NOTICES)


def kinds() -> list[Alert]:
    records = [replace(RECORDS, kind=kind) for kind in (*ERROR_CLASSES, "guard")]
    return [
        *records,
        *(replace(SYSTEM, kind=kind) for kind in sorted({*CONNECTION_KINDS, *CREDENTIAL_KINDS, *ERROR_CLASSES})),
    ]


@pytest.mark.parametrize("alert", kinds(), ids=lambda one: f"{one.connection or one.flow}-{one.kind}")
def test_the_next_command_is_one_that_exists(alert: Alert) -> None:
    program, *args = shlex.split(next_command(alert, PROD))
    assert program == "flowrun"
    front = cli.make_context("flowrun", [], resilient_parsing=True)
    name, command, rest = cli.resolve_command(front, args)
    assert name is not None and command is not None
    context = command.make_context(name, rest, parent=front)  # click reads the arguments; nothing is called
    sub = command.resolve_command(context, context._protected_args + context.args)  # type: ignore[attr-defined]
    assert sub[1].make_context(sub[0], sub[2], parent=context) is not None


def test_a_name_cannot_begin_a_command_of_its_own() -> None:
    found = next_command(replace(SYSTEM, connection="s4; rm -rf ~"), Place("p", "$(id)"))
    assert shlex.split(found) == ["flowrun", "connections", "check", "s4; rm -rf ~", "--env", "$(id)"]


def test_chat_windows_get_no_markup() -> None:
    assert inert("<!channel> <https://evil|click> &amp;") == "&lt;!channel&gt; &lt;https://evil|click&gt; &amp;amp;"
    found = payload(notice("opened", replace(RECORDS, message="<b>x</b>")), PROD, "desk")
    assert "<" not in found["text"] and found["message"] == "<b>x</b>"


@pytest.mark.parametrize(
    ("secs", "words"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (11100, "3 h 5 min"), (86400, "1 d"),
     (190000, "2 d 4 h"), (-5, "0 s")],
)  # fmt: skip
def test_spans(secs: float, words: str) -> None:
    assert span(secs) == words
