"""Every command as an analyst meets it: in the wrong folder, with the wrong words, with a system that is not there."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from clikit import FLOW, Shell
from hypothesis import given
from hypothesis import strategies as st

from flowrun.cli.main import COMMANDS
from flowrun.cli.output import FORMATS, render
from flowrun.diagnostics import Diagnostic, Span


@pytest.fixture
def shell(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.chdir(project)
    for name in [*os.environ]:
        if name.startswith(("FLOWRUN_", "XCART_", "S4_")):
            monkeypatch.delenv(name)
    return Shell(project, capsys)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path, capsys)


@pytest.mark.parametrize(
    "words",
    [("validate",), ("test",), ("run", "x"), ("runs",), ("dlq", "list"), ("dlq", "show", "a", "1"), ("connections", "list"),
     ("connections", "check"), ("connections", "pull-contract", "s4", "A_SalesOrder"), ("explain", "x", "--key", "1"),
     ("map", "x", "--input", "-"), ("drift",), ("env", "list"), ("env", "diff", "a", "b"),
     ("promote", "build", "--env", "qa", "--to", "prod", "-o", "x")],
)  # fmt: skip
def test_an_empty_folder_is_told_how_to_begin(empty: Shell, words: tuple[str, ...]) -> None:
    code, out, err = empty(*words)
    assert (code, out) == (2, "")
    assert err == f"error: no flowrun.yaml in {empty.root} or above it\n  = help: start a project with: flowrun init\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_refuses_an_unknown_option(empty: Shell, name: str) -> None:
    assert empty(name, "--help")[0] == 0
    assert empty(name, "-h")[1] == empty(name, "--help")[1]
    code, out, err = empty(name, "--nosuch")
    assert (code, out) == (2, "") and "--nosuch" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("valdate",), "No such command 'valdate'. Did you mean 'validate'?"),
        (("validate", "flows/nope.yaml"), "error: there is no file or folder 'flows/nope.yaml'"),
        (("test", "nope"), "error: there is no file or folder 'nope'"),
        (("map", "xcart-order-to-s4", "--input", "lookups/units.csv"), "help: did you mean 'xcart-orders-to-s4'?"),
        (("explain", "xcart-order-to-s4", "--key", "1"), "help: did you mean 'xcart-orders-to-s4'?"),
        (("run", "xcart-order-to-s4"), "help: did you mean 'xcart-orders-to-s4'?"),
        (("run", "nothing-like-it"), "help: flows of this project: s4-deliveries-to-xcart, xcart-orders-to-s4, s4-stock-to-xcart"),
        (("run", FLOW, "--env", "def"), "no environment is named 'def'\n  = help: did you mean 'dev'?"),
        (("run", FLOW, "--env", "qa"), "flowrun.yaml:8:15: the variable XCART_URL is not set\n  = help: export XCART_URL=…"),
        (("run", FLOW, "--input", "nope"), "'nope' does not exist"),
        (("run", FLOW, "--limit", "0"), "0 is not in the range x>=1"),
        (("runs", "--env", "qa"), "/.flowrun/state-qa.db yet\n  = help: flowrun run FLOW"),
        (("runs", "abc"), "'abc' is not a valid integer"),
        (("why", "FR1044"), "error: there is no code FR1044\n  = help: flowrun why lists them"),
        (("connections", "check", "xcrt"), "no connection is named 'xcrt'\n  = help: did you mean 'xcart'?"),
        (("connections", "pull-contract", "erp", "X"), "no connection is named 'erp'\n  = help: flowrun.yaml has: xcart, s4"),
        (("connectors", "xcat"), "no connector is named 'xcat'\n  = help: did you mean 'xcart'?"),
        (("connectors", "sap"), "help: installed: event_mesh, file, http, s4hana, xcart"),
        (("sandbox", "xcat"), "did you mean 'xcart'?"),
        (("sandbox", "xcart", "--port", "99999"), "99999 is not in the range"),
        (("sandbox", "xcart", "--faults", "nonsense"), "there is no fault 'nonsense'\n  = help: faults: 429"),
        (("test", "--mutate", "--format", "json"), "--mutate is told in words"),
        (("test", "--env", "qa"), "--env goes with --record"),
    ],
)  # fmt: skip
def test_wrong_words_are_mended_in_words(shell: Shell, words: tuple[str, ...], said: str) -> None:
    code, out, err = shell(*words)
    assert (code, out) == (2, "")
    assert said in err, err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("runs", "7"), "error: there is no run 7\n"),
        (("runs", "--flow", "xcart-order-to-s4"), "did you mean 'xcart-orders-to-s4'?"),
        (("runs", "--limit", "0"), "0 is not in the range x>=1"),
        (("dlq", "list", "--flow", "xcart-order-to-s4"), "did you mean 'xcart-orders-to-s4'?"),
        (("dlq", "show", "xcart-order-to-s4", "1"), "did you mean 'xcart-orders-to-s4'?"),
        (("dlq", "show", FLOW, "101"), f"{FLOW} has no dead letter '101'\n  = help: did you mean '1001'?"),
        (("dlq", "edit", FLOW, "1001", "--set", "customer"), "'customer' is not PATH=VALUE"),
        (("dlq", "edit", FLOW, "1001", "--set", "a.b=1"), "the record has no 'a'"),
        (("dlq", "edit", FLOW, "1001", "--file", "lookups/units.csv"), "not JSON"),
        (("dlq", "replay", FLOW), "which ones?"),
        (("dlq", "discard", FLOW, "1001"), "Missing option '--reason'"),
    ],
)  # fmt: skip
def test_wrong_words_about_what_the_store_holds(shell: Shell, words: tuple[str, ...], said: str) -> None:
    shell("run", FLOW, "--input", shell.orders(1001, customer_id="77"), "--env", "dev")
    code, out, err = shell(*words, "--env", "dev")
    assert (code, out) == (2, "")
    assert said in err, err


def test_a_run_that_took_in_nothing_is_no_mistake(shell: Shell) -> None:
    shell("run", FLOW, "--env", "dev")
    shell("run", FLOW, "--env", "dev")  # nothing is new
    assert shell("runs", "2", "--env", "dev")[:2] == (0, "run 2 took in no records\n")


def test_connections_say_which_setting_is_missing_and_which_system_is_down(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = shell("connections", "check", "--env", "qa")
    assert code == 2 and out.startswith(
        "xcart: flowrun.yaml:8:15: the variable XCART_URL is not set (export XCART_URL=…)\n"
    )
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("XCART_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
    monkeypatch.setenv("XCART_API_KEY", "canary-77d")
    monkeypatch.setenv("XCART_WEBHOOK_SECRET", "canary-77d")
    code, out, err = shell("connections", "check", "xcart", "--env", "qa")
    assert code == 4 and out.startswith("xcart: FAILED: ")
    assert "canary" not in out + err
    code, _, err = shell("run", FLOW, "--input", shell.orders(1), "--env", "qa")
    assert code == 2 and "S4_URL" in err


def test_init_writes_a_project_that_is_good_and_overwrites_nothing(
    empty: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = empty("init", "my shop")
    assert code == 0
    assert out.endswith("next: cd 'my shop' && flowrun validate && flowrun test\n")
    root = empty.root / "my shop"
    assert (root / ".flowrun/flow.schema.json").is_file()
    assert (root / ".gitignore").read_text() == ".flowrun/\n"
    (root / "flowrun.yaml").write_text((root / "flowrun.yaml").read_text() + "# mine\n")
    monkeypatch.chdir(root)
    code, out, _ = empty("init")
    assert out.endswith("next: flowrun validate && flowrun test\n")
    assert (root / "flowrun.yaml").read_text().endswith("# mine\n")
    assert empty("validate", "--strict")[0] == 0
    assert empty("test")[0] == 0


def test_init_where_a_file_stands(empty: Shell) -> None:
    (empty.root / "shop").write_text("")
    code, _, err = empty("init", "shop")
    assert code == 2 and "'shop' is a file" in err


def test_a_folder_that_may_not_be_written_is_said(empty: Shell) -> None:
    if not os.getuid():
        pytest.skip("root may write everywhere")
    (empty.root / "closed").mkdir(mode=0o500)
    code, _, err = empty("init", "closed/shop")
    assert code == 4 and err.endswith("Permission denied\n")


# -- formats -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS[1:])
def test_formats_of_validate_are_whole_with_nothing_to_say(shell: Shell, form: str) -> None:
    code, out, err = shell("validate", "--format", form)
    assert (code, err) == (0, "")
    if form == "junit":
        assert ElementTree.fromstring(out).get("failures") == "0"
    elif form != "github":
        assert json.loads(out) is not None


places = st.builds(
    Span, st.text(min_size=1), st.integers(1, 99), st.integers(1, 99), st.integers(100, 199), st.integers(1, 99)
)
findings = st.lists(
    st.builds(
        Diagnostic, st.sampled_from(["FR104", "FR150", "FR008"]), st.text(min_size=1), places,
        st.sampled_from(["error", "warning", "lint"]), st.text(), st.text(), related=st.lists(st.tuples(st.text(min_size=1), places), max_size=2).map(tuple),
    ),
    max_size=5,
)  # fmt: skip


@given(findings)
def test_whatever_is_found_every_format_holds_it(found: list[Diagnostic]) -> None:
    assert len(json.loads(render("json", found, ["a"]))["findings"]) == len(found)
    _is_sarif(json.loads(render("sarif", found, ["a"])), len(found))
    _is_code_quality(json.loads(render("gitlab", found, ["a"])), len(found))
    lines = render("github", found, ["a"]).split("\n") if found else []
    command = re.compile(
        r"::(error|warning|notice) file=[^,:\r\n]*,line=\d+,col=\d+,endLine=\d+,endColumn=\d+,title=FR\d+::[^\r\n]*"
    )
    assert len(lines) == len(found) and all(command.fullmatch(line) for line in lines)
    suite = ElementTree.fromstring(render("junit", found, ["a"]).encode())
    errors = [d for d in found if d.severity == "error"]
    assert len(list(suite.iter("failure"))) == len(errors)
    assert suite.get("failures") == str(len({d.span.file for d in errors}))
    assert sum(len(one.findall("system-out")) for one in suite.iter("testcase")) <= len(suite)


def _is_sarif(log: dict[str, object], results: int) -> None:
    """What SARIF 2.1.0 (OASIS) asks of a log of results: sections 3.13, 3.14, 3.18, 3.19, 3.27 to 3.30, 3.49."""
    assert log["version"] == "2.1.0" and isinstance(log["runs"], list)
    (run,) = log["runs"]
    assert set(run) <= {"tool", "results", "columnKind"} and run["columnKind"] in (
        "utf16CodeUnits",
        "unicodeCodePoints",
    )
    driver = run["tool"]["driver"]
    assert driver["name"] and re.fullmatch(r"[0-9]+(\.[0-9]+)*", driver["version"])
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(ids) == len(set(ids)) and all(rule["shortDescription"]["text"] for rule in driver["rules"])
    assert len(run["results"]) == results
    for result in run["results"]:
        assert set(result) <= {"ruleId", "level", "message", "locations", "relatedLocations"}
        assert result["ruleId"] in ids and result["level"] in ("none", "note", "warning", "error")
        assert result["message"]["text"] and len(result["locations"]) == 1
        for location in (*result["locations"], *result["relatedLocations"]):
            place = location["physicalLocation"]
            assert re.fullmatch(r"[A-Za-z0-9._~!$&'()*+,;=@%/-]+", place["artifactLocation"]["uri"])
            region = place["region"]
            assert (
                1 <= region["startLine"] <= region["endLine"]
                and region["startColumn"] >= 1
                and region["endColumn"] >= 1
            )
        assert all(one["message"]["text"] for one in result["relatedLocations"])


def _is_code_quality(report: list[dict[str, object]], results: int) -> None:
    """GitLab's documentation, "Code Quality report format": the names and values it reads."""
    assert len(report) == results
    for one in report:
        assert one["description"] and one["check_name"]
        assert one["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert isinstance(one["fingerprint"], str) and len(one["fingerprint"]) == 64
        location = one["location"]
        assert isinstance(location, dict) and location["path"] and location["lines"]["begin"] >= 1


def test_formats_of_test_tell_the_same(shell: Shell) -> None:
    file = shell.root / "flows/xcart-s4hana/orders-to-s4.yaml"
    file.write_text(
        file.read_text().replace("{ value: ZBIG }", "{ value: ZBOG }").replace("value: ZBIG }", "value: ZBOG }")
    )
    file.write_text(file.read_text().replace("value: ZEXB }", "value: ZEXX }"))
    code, text, _ = shell("test")
    failed = re.findall(r"^FAILED  ([\w-]+): (.*)$", text, re.MULTILINE)
    assert code == 1 and failed
    found = json.loads(shell("test", "--format", "json")[1])
    assert [(one["flow"], one["name"]) for one in found if not one["passed"]] == failed
    assert all(one["line"] > 1 and one["differences"] for one in found if not one["passed"])
    suite = ElementTree.fromstring(shell("test", "--format", "junit")[1])
    assert [(c.get("classname"), c.get("name")) for c in suite if c.find("failure") is not None] == failed
    assert suite.get("tests") == str(len(found))


# -- terminals, pipes, Ctrl-C ------------------------------------------------------------------------------------


def call(root: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")} | more
    return subprocess.run(
        [sys.executable, "-m", "flowrun", *words], cwd=root, env=environ, capture_output=True, text=True, timeout=60
    )


def on_a_terminal(root: Path, *words: str, **more: str) -> str:
    """What a person sees: both outputs are a terminal."""
    environ = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    environ |= {"TERM": "xterm", **more}
    leader, follower = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "flowrun", *words],
        cwd=root,
        env=environ,
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    seen = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        seen += piece
    process.wait(20)
    os.close(leader)
    return seen.decode()


COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize("words", [("test",), ("validate",), ("run", FLOW, "--input", "orders.jsonl", "--env", "dev")])
def test_colours_on_a_terminal_only_and_never_with_no_color(shell: Shell, words: tuple[str, ...]) -> None:
    shell.orders(1001, customer_id="77")
    if words == ("validate",):
        (shell.root / "flows/x.yaml").write_text("flowrun: 1\nflow: x\nsorce: {}\n")
    assert not COLOUR.search(call(shell.root, *words).stdout)
    assert COLOUR.search(on_a_terminal(shell.root, *words))
    assert not COLOUR.search(on_a_terminal(shell.root, *words, NO_COLOR="1"))


def test_map_shows_its_progress_on_a_terminal(shell: Shell) -> None:
    orders = shell.orders(*range(300))
    words = ("map", FLOW, "--input", orders, "--output", "out.jsonl", "--env", "dev")
    assert "100%" in on_a_terminal(shell.root, *words)
    assert "%" not in call(shell.root, *words).stderr.replace("note:", "")


def test_rows_of_a_grouped_flow_are_mapped_by_the_group(shell: Shell) -> None:
    row = {"Material": "AB-1", "Plant": "1710", "MatlWrhsStkQtyInMatlBaseUnit": "3"}
    (shell.root / "rows.jsonl").write_text(json.dumps(row) + "\n")
    (shell.root / "groups.jsonl").write_text(json.dumps({"key": "AB-1", "rows": [row]}) + "\n")
    (shell.root / "x.yaml").write_text('products: { AB-1: "9" }\n')
    refused = call(shell.root, "map", "s4-stock-to-xcart", "--input", "rows.jsonl", "--xref", "x.yaml")
    assert refused.returncode == 1
    assert refused.stderr.endswith('note: this flow groups rows, so a line is a whole group: {"key": …, "rows": […]}\n')
    mapped = call(shell.root, "map", "s4-stock-to-xcart", "--input", "groups.jsonl", "--xref", "x.yaml")
    assert (mapped.returncode, json.loads(mapped.stdout)["quantity"]) == (0, 1)
    explained = shell(
        "explain", "s4-stock-to-xcart", "--input", "rows.jsonl", "--xref", "x.yaml", "--field", "quantity"
    )
    assert explained[1].startswith("quantity = 1")


def test_a_pipe_that_closes_is_quiet(shell: Shell) -> None:
    script = f"{sys.executable} -m flowrun why | head -n 1"
    done = subprocess.run(["bash", "-c", script], cwd=shell.root, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("FR001  too large or too deep\n", "")


def test_a_sandbox_shows_its_settings_and_ends_with_ctrl_c(shell: Shell) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "flowrun", "sandbox", "s4hana"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    first = process.stdout.readline()
    assert first.startswith("simulated s4hana at http://127.0.0.1:")
    port = first.strip().rsplit(":", 1)[1]
    code, _, err = shell("sandbox", "xcart", "--port", port)
    assert code == 2 and err.startswith(f"error: port {port}: Address already in use\n")
    assert process.stdout.readline() == "connection settings:\n"
    assert process.stdout.readline() == f'  base_url: "http://127.0.0.1:{port}"\n'
    assert process.stdout.readline() == '  auth: {"basic":{"user":"SIM_USER","password":"sim-s4-password"}}\n'
    assert process.stdout.readline() == "stop it with Ctrl-C\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, "stopped\n", "")


# -- mutation ----------------------------------------------------------------------------------------------------


def test_mutate_names_what_no_test_notices_and_where(shell: Shell) -> None:
    file = shell.root / "flows/xcart-s4hana/orders-to-s4.yaml"
    text = file.read_text()
    code, out, _ = shell("test", str(file), "--mutate")
    before = set(re.findall(r"^(\S+?):(\d+):\d+: (.*): no test notices$", out, re.MULTILINE))
    assert code == 0
    start = text.index("  - name: a big foreign order gets its own order type")
    end = text.find("  - name:", start + 10)
    file.write_text(text[:start] + text[end:])
    _, out, _ = shell("test", str(file), "--mutate")
    after = set(re.findall(r"^(\S+?):(\d+):\d+: (.*): no test notices$", out, re.MULTILINE))
    line = next(n for n, one in enumerate(text.splitlines(), 1) if "value: ZEXB" in one)
    assert ("flows/xcart-s4hana/orders-to-s4.yaml", str(line), "'ZEXB' → 'ZEXX'") in after - before
    assert before <= after
    assert shell("test", str(file), "--mutate", "--strict")[0] == 1


def test_in_the_shipped_flows_only_changes_without_an_effect_go_unnoticed(shell: Shell) -> None:
    """A converter that the contract repeats, and a key of a composite look-up that has no row either way."""
    _, out, _ = shell("test", "--mutate")
    left = re.findall(r"^\S+: (.*): no test notices$", out, re.MULTILINE)
    assert set(left) <= {"without: integer", "without: text", "without: decimal 2 half_up", "'none' → 'nonX'"}


def test_a_table_that_no_test_looks_into_is_named(shell: Shell) -> None:
    file = shell.root / "flows/xcart-s4hana/stock-to-xcart.yaml"
    text = file.read_text()
    start = text.index("  - name: the table of the project")
    file.write_text(text[:start] + text[text.index("  - name:", start + 10) :])
    _, out, _ = shell("test", str(file), "--mutate")
    assert re.search(r":23:\d+: lookup safety_stock: other rows in lookups/safety_stock.csv: no test notices", out)


def test_mutate_waits_for_tests_that_pass(shell: Shell) -> None:
    file = shell.root / "flows/xcart-s4hana/orders-to-s4.yaml"
    file.write_text(file.read_text().replace("value: ZEXB }", "value: ZEXX }"))
    code, out, err = shell("test", "--mutate")
    assert code == 1 and "no test notices" not in out
    assert err == "nothing was changed: a flow whose tests fail has to be mended first\n"
