"""flowrun run and flowrun alerts, as a person meets them: the alert in the outcome's transaction, told, shown, over."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from flowrun.alerts import channels_of, raise_alert, renewed, settled, trouble
from flowrun.cli.main import EXIT_FINDINGS, EXIT_OK, EXIT_OUTSIDE, EXIT_USAGE, cli, main
from flowrun.connector import discover
from flowrun.flow import load_flow
from flowrun.project import load_project
from flowrun.store import Store, open_store
from flowrun.store.alert_rows import Incident
from flowrun.values import system_clock
from tests.alerts.conftest import Clock
from tests.alerts.test_channels import Hook

FLOW = "xcart-orders-to-s4"


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.server.shutdown()
    made.server.server_close()


class Desk:
    """The shipped project against both simulators, in environment qa, and a person at the keyboard."""

    def __init__(self, root: Path, shop: Any, erp: Any, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.shop, self.erp, self.hook = root, shop, erp, hook
        monkeypatch.chdir(root)
        monkeypatch.setenv("NO_COLOR", "1")
        shop_at, erp_at = shop.connection_settings(), erp.connection_settings()
        text = (root / "flowrun.yaml").read_text(encoding="utf-8")
        head, rest = text.split("connections:\n")[0], text.split("environments:\n")[1]
        self.connections = {
            "xcart": {"connector": "xcart", "profile": "compat", "states": {"184": "CA"}, **shop_at},
            "s4": {"connector": "s4hana", **erp_at},
        }
        for name in ("order_desk_webhook", "pager_url", "finance_webhook"):
            monkeypatch.setenv(f"FLOWRUN_SECRET_{name.upper()}", f"{hook.origin}/{name}")
        self._head, self._rest, self._monkeypatch = head, rest, monkeypatch
        self.write()

    def write(self) -> None:
        """flowrun.yaml with secrets by reference, as they must be."""
        lines = [self._head + "connections:"]
        for name, settings in self.connections.items():
            lines.append(f"  {name}:")
            for key, value in settings.items():
                lines.append(f"    {key}: {self._by_reference(name, key, value)}")
        text = "\n".join(lines) + "\n\nenvironments:\n" + self._rest
        (self.root / "flowrun.yaml").write_text(text, encoding="utf-8")

    def _by_reference(self, name: str, key: str, value: Any) -> str:
        if isinstance(value, dict) and key == "auth":
            scheme, inner = next(iter(value.items()))
            parts = {one: self._by_reference(name, one, found) for one, found in inner.items()}
            return f"{{ {scheme}: {{ " + ", ".join(f"{one}: {found}" for one, found in parts.items()) + " } }"
        if isinstance(value, dict):
            return json.dumps(value)
        variable = f"T_{name}_{key}".upper()
        self._monkeypatch.setenv(variable, str(getattr(value, "reveal", lambda: value)()))
        if key == "connector":
            return str(value)
        return f"{{ env: {variable} }}" if "url" in key or key in ("profile",) else f"{{ secret: {variable.lower()} }}"

    def flowrun(self, *words: str) -> Result:
        return CliRunner().invoke(cli, [*words, "--env", "qa"], standalone_mode=False)

    def heard(self) -> list[tuple[str, str, str]]:
        """(path, event, title) of what reached the webhooks since the last time."""
        found = [(path, json.loads(body)) for path, _, body in self.hook.got]
        self.hook.got.clear()
        return [(path, body["event"], body["title"]) for path, body in found]

    def store(self) -> Store:
        return open_store(self.root / ".flowrun" / "state-qa.db", now=system_clock)


@pytest.fixture
def desk(project: Path, shop: Any, erp: Any, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> Desk:
    made = Desk(project, shop, erp, hook, monkeypatch)
    (project / ".flowrun").mkdir()
    store = made.store()
    store.xrefs.put([("customers", "42", "17100001")], "tester")
    store.close()
    return made


def test_an_order_that_cannot_be_mapped_is_told_and_over_when_it_is_mended(desk: Desk) -> None:
    desk.shop.place_order([("ab-1", "Mug", 2, "10.00")], order_id=7, customer_id=77)
    found = desk.flowrun("run", FLOW)
    assert found.return_value == EXIT_FINDINGS and "was not told" not in found.output, found.output
    assert desk.heard() == [("/order_desk_webhook", "opened", f"{FLOW}: 1 record cannot be mapped (bad_data)")]
    desk.flowrun("run", FLOW)
    assert desk.heard() == [], "a second run has no news"
    listed = desk.flowrun("alerts", "list")
    assert listed.return_value == EXIT_FINDINGS
    assert "1 record cannot be mapped (bad_data)" in listed.output and "1 open alert\n" in listed.output
    assert f"next: flowrun dlq list --flow {FLOW} --env qa" in listed.output
    desk.flowrun("dlq", "edit", FLOW, "7", "--set", "customer_id=42")
    desk.flowrun("dlq", "replay", FLOW, "7")
    desk.flowrun("run", FLOW)
    assert [event for _, event, _ in desk.heard()] == ["resolved"]
    assert desk.flowrun("alerts", "list").return_value == EXIT_OK
    assert "bad_data" in desk.flowrun("alerts", "list", "--past").output


def test_refused_credentials_are_the_connections_alert_and_end_with_the_next_delivery(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.shop.place_order([("ab-1", "Mug", 2, "10.00")], order_id=1)
    [name] = [
        one for one in os.environ if (one.startswith("T_S4_") and "PASSWORD" in one) or one.endswith("CLIENT_SECRET")
    ]
    good = os.environ[name]
    monkeypatch.setenv(name, "not-the-password")
    assert desk.flowrun("run", FLOW).return_value == EXIT_OUTSIDE
    assert [(path, event) for path, event, _ in desk.heard()] == [("/pager_url", "opened")]
    listed = desk.flowrun("alerts", "list", "--connection", "s4")
    assert "s4 refuses our credentials (auth)" in listed.output
    assert "next: flowrun connections check s4 --env qa" in listed.output
    monkeypatch.setenv(name, good)
    assert desk.flowrun("run", FLOW).return_value == EXIT_OK
    assert [event for _, event, _ in desk.heard()] == ["resolved"]


def test_a_source_that_cannot_be_read_is_told_and_ends_with_the_next_reading(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T_XCART_API_KEY", "wrong-key-for-the-shop")
    assert desk.flowrun("run", FLOW).return_value == EXIT_OUTSIDE
    assert [(path, event) for path, event, _ in desk.heard()] == [("/pager_url", "opened")]
    assert "xcart" in desk.flowrun("alerts", "list").output
    monkeypatch.setenv("T_XCART_API_KEY", desk.connections["xcart"]["api_key"])
    assert desk.flowrun("run", FLOW).return_value == EXIT_OK
    assert [event for _, event, _ in desk.heard()] == ["resolved"]


def test_a_channel_that_is_down_costs_the_run_nothing_but_a_note(desk: Desk) -> None:
    desk.hook.answers = [503]
    desk.shop.place_order([("ab-1", "Mug", 2, "10.00")], order_id=7, customer_id=77)
    found = desk.flowrun("run", FLOW)
    assert found.return_value == EXIT_FINDINGS
    note = "note: alert channel 'order-desk' was not told: the receiver answered 503; it is tried again later"
    assert note in found.output
    shown = desk.flowrun("alerts", "show", "1").output
    assert "order-desk: waits; the receiver answered 503; next try" in shown
    assert "not delivered to order-desk: the receiver answered 503" in desk.flowrun("alerts", "list").output


def test_simulators_page_nobody(desk: Desk) -> None:
    runner = CliRunner()
    record = desk.root / "one.json"
    desk.shop.place_order([("ab-1", "Mug", 2, "10.00")], order_id=7, customer_id=77)
    record.write_text('{"order_id": "9"}\n', encoding="utf-8")
    found = runner.invoke(cli, ["run", FLOW, "--env", "dev", "--input", str(record)], standalone_mode=False)
    assert found.return_value == EXIT_FINDINGS, found.output
    assert desk.heard() == [] and "was not told" not in found.output
    listed = runner.invoke(cli, ["alerts", "list", "--env", "dev"], standalone_mode=False)
    assert listed.return_value == EXIT_FINDINGS and "1 open alert" in listed.output


def test_show_acknowledge_and_who_was_told(desk: Desk) -> None:
    desk.shop.place_order([("ab-1", "Mug", 2, "10.00")], order_id=7, customer_id=77)
    desk.flowrun("run", FLOW)
    shown = desk.flowrun("alerts", "show", "1").output
    assert "order-desk: delivered" in shown and "such as 7" in shown and "[open]" in shown
    done = desk.flowrun("alerts", "ack", "1")
    assert (done.return_value, done.output) == (
        EXIT_OK, "acknowledged 1: quiet for a day, or until it is twice as many\n",
    )  # fmt: skip
    listed = desk.flowrun("alerts", "list")
    assert listed.return_value == EXIT_OK and "acknowledged by" in listed.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("alerts", "show", "9"), "error: there is no alert 9\n  = help: open alerts: none\n"),
        (("alerts", "ack", "9"), "error: there is no alert 9\n  = help: open alerts: none\n"),
        (("alerts", "test", "order-dsk"), "error: flowrun.yaml has no alert channel 'order-dsk'\n  = help: did you mean 'order-desk'?\n"),
        (("alerts", "test", "zzz"), "error: flowrun.yaml has no alert channel 'zzz'\n  = help: channels: order-desk, finance, warehouse, on-call\n"),
    ],
)  # fmt: skip
def test_what_is_not_there(desk: Desk, capsys: pytest.CaptureFixture[str], words: Any, said: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*words, "--env", "qa"])
    assert caught.value.code == EXIT_USAGE and capsys.readouterr().err == said


def test_what_is_over_cannot_be_acknowledged(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    store = desk.store()
    with store.transaction() as tx:
        raise_alert(store, tx, Incident("finance", "network", "no", connection="s4"))
    with store.transaction() as tx:
        settled(store, tx, "s4")
    store.alerts.due({})
    store.close()
    with pytest.raises(SystemExit) as caught:
        main(["alerts", "ack", "1", "--env", "qa"])
    assert caught.value.code == EXIT_USAGE and "error: alert 1 is over" in capsys.readouterr().err


def test_a_test_notice_reaches_its_channel_only(desk: Desk) -> None:
    found = desk.flowrun("alerts", "test", "finance")
    assert (found.return_value, found.output) == (EXIT_OK, "told finance; look there for the test notice\n")
    assert desk.heard() == [("/finance_webhook", "test", "a test notice")]
    desk.hook.answers = [404]
    failed = desk.flowrun("alerts", "test", "finance")
    assert failed.return_value == EXIT_OUTSIDE
    assert failed.output == "error: channel 'finance' was not told: the receiver answered 404\n"


def test_a_list_by_owner_and_flow(desk: Desk) -> None:
    store = desk.store()
    with store.transaction() as tx:
        raise_alert(
            store,
            tx,
            Incident("a", "bad_data", "x", flow="one", owner="anna"),
            Incident("a", "network", "y", flow="two", owner="bo", connection="s4"),
        )
    store.close()
    assert "1 open alert\n" in desk.flowrun("alerts", "list", "--owner", "anna").output
    assert "s4 cannot be reached" in desk.flowrun("alerts", "list", "--flow", "two").output
    assert "0 open alerts" in desk.flowrun("alerts", "list", "--flow", "three").output


# -- credentials -----------------------------------------------------------------------------------------------------


def test_a_credentials_trouble_goes_to_whom_its_flows_name_and_ends_when_renewed(project: Path, tmp_path: Path) -> None:
    loaded = load_project(project)
    flows = [load_flow(FLOW, loaded, discover())]
    assert channels_of("s4", flows) == ["on-call"] and channels_of("elsewhere", flows) == []
    clock = Clock()
    store = open_store(tmp_path / "t.db", now=clock)
    book = store.alerts
    with store.transaction() as tx:
        trouble(store, tx, "s4", "expiring", "the certificate ends", channels=["on-call"], expires_at=clock.at)
        trouble(store, tx, "elsewhere", "refused", "no", channels=[])
    assert [(one.channel, one.connection, one.kind, one.message) for one in book.open()] == [
        ("on-call", "s4", "expiring", "the certificate ends; it expires 2026-05-04 10:00 UTC"),
        ("", "elsewhere", "auth", "no"),
    ]
    with store.transaction() as tx:
        settled(store, tx, "s4")
        renewed(store, tx, "elsewhere")
    book.due({})
    assert [one.connection for one in book.open()] == ["s4"], "a call that works ends no expiry"
    with store.transaction() as tx:
        renewed(store, tx, "s4")
    book.due({})
    assert book.open() == []
    store.close()


def test_a_records_own_class_is_no_trouble_of_its_connection(tmp_path: Path) -> None:
    store = open_store(tmp_path / "t.db", now=system_clock)
    with store.transaction() as tx:
        raise_alert(store, tx, Incident("a", "rejected", "no", flow="f", connection="s4", key="1"))
        raise_alert(store, tx, Incident("a", "other", "the pages repeat", flow="f", connection="s4"))
    assert sorted((one.flow, one.connection) for one in store.alerts.open()) == [("", "s4"), ("f", "")]
    store.close()
