"""flowrun demo, as somebody runs it who has just installed it: another folder, no settings, nothing but the command."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

import flowrun.cli.demo as demo
from flowrun.cli.main import cli
from flowrun.templates import copy_templates


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str
    secs: float
    kept: Path


def flowrun(*words: str, cwd: Path, **more: str) -> Ended:
    begun = time.monotonic()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FLOWRUN_")} | more
    done = subprocess.run(
        [sys.executable, "-P", "-m", "flowrun", *words],
        cwd=cwd,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return Ended(done.returncode, done.stdout, done.stderr, time.monotonic() - begun, cwd)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """One run of the demo; FLOWRUN_STORE of a real project must not be touched by it."""
    folder = tmp_path_factory.mktemp("elsewhere")
    ended = flowrun("demo", "--keep", "kept", cwd=folder, FLOWRUN_STORE=str(folder / "precious.db"))
    assert not (folder / "precious.db").exists()
    return Ended(ended.code, ended.out, ended.err, ended.secs, folder / "kept")


def test_it_ends_well_and_soon(shown: Ended) -> None:
    assert shown.code == 0, shown.out + shown.err
    assert shown.err == ""
    assert shown.secs < 30


@pytest.mark.parametrize(
    "line",
    [
        "$ flowrun run xcart-orders-to-s4 --env qa",
        "7 read, 7 new, 6 confirmed, 1 dead; 6 sent",
        "7 read, 0 new, 0 confirmed; 0 sent",
        "bad_data: vars.sold_to: customers has no row for '77'",
        "at flows/xcart-s4hana/orders-to-s4.yaml:",
        "$ flowrun dlq edit xcart-orders-to-s4 1007 --set customer_id=42 --env qa",
        "$ flowrun dlq replay xcart-orders-to-s4 1007 --env qa",
        "SalesOrderType = 'ZEXB'",
        "XC-1006",
        "X-Cart order 1001: shipping status S, tracking 1Z999AA10123456784",
    ],
)
def test_it_shows(shown: Ended, line: str) -> None:
    assert line in shown.out


def test_piped_it_is_plain(shown: Ended) -> None:
    assert "\x1b" not in shown.out
    assert "│" not in shown.out


def test_no_secret_of_the_simulated_systems_shows_and_none_is_kept(shown: Ended) -> None:
    secrets = ("sim-xcart-key", "sim-xcart-webhook-secret")
    assert not any(secret in shown.out + shown.err for secret in secrets)
    for file in shown.kept.rglob("*"):
        if file.is_file():
            assert not any(secret.encode() in file.read_bytes() for secret in secrets), file


def test_what_is_kept_goes_on_from_there(shown: Ended) -> None:
    again = flowrun("run", "xcart-orders-to-s4", "--env", "dev", cwd=shown.kept)
    assert again.code == 0, again.out + again.err
    assert "; 0 sent" in again.out
    assert "0 dead letters" in flowrun("dlq", "list", "--env", "dev", cwd=shown.kept).out


def test_it_does_not_write_into_a_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "mine.txt").write_text("mine")
    ended = flowrun("demo", "--keep", "kept", cwd=tmp_path)
    assert ended.code == 2
    assert "is not empty" in ended.err
    assert [one.name for one in (tmp_path / "kept").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "from: order.customer_id, lookup: customers",
            "from: env.guest_customer",
            "six of the seven orders belong in S/4HANA",
        ),
        (
            "flow: xcart-orders-to-s4\n",
            "flow: xcart-orders-to-s5\n",
            "'flowrun run xcart-orders-to-s4 --env qa' ended with 2",
        ),
    ],
)
def test_it_fails_when_something_does_not_come_out(
    monkeypatch: pytest.MonkeyPatch, old: str, new: str, said: str
) -> None:
    """A flow that lets the unknown customer through is not what the demo promises."""

    def spoiled(to: Path) -> list[str]:
        written = copy_templates(to)
        flow = to / "flows/xcart-s4hana/orders-to-s4.yaml"
        text = flow.read_text()
        assert old in text
        flow.write_text(text.replace(old, new))
        return written

    monkeypatch.setattr(demo, "copy_templates", spoiled)
    result = CliRunner().invoke(cli, ["demo"], standalone_mode=False)
    assert result.return_value == 1
    assert f"the demo failed: {said}" in result.output


def test_a_promise_that_does_not_hold_ends_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = itertools.count()
    monkeypatch.setattr(demo.Demo, "writes", lambda self: next(counter))  # as if every run had written
    result = CliRunner().invoke(cli, ["demo"], standalone_mode=False)
    assert result.return_value == 1
    assert "the demo failed: the second run wrote to S/4HANA" in result.output


@pytest.mark.parametrize("terminal", [True, False])
def test_tables_on_a_terminal_columns_in_a_pipe(terminal: bool) -> None:
    stage, out = demo.Stage(), StringIO()
    stage.console = Console(file=out, force_terminal=terminal, width=40, highlight=False, markup=False, emoji=False)
    stage.table(["order", "items"], [["1", "[red]2[/red] MUG"], ["10", "x"]])
    stage.say("a line that is much longer than the forty characters of this terminal: it is not broken")
    text = out.getvalue()
    assert ("┃" in text) is terminal
    assert "[red]2[/red] MUG" in text
    if not terminal:
        assert text.splitlines()[:3] == ["  order  items", "  1      [red]2[/red] MUG", "  10     x"]
        assert len(text.splitlines()) == 4
