"""flowrun tokens, and what serve refuses without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowrun.service.admin.throttle import MOST_ADDRESSES, MOST_FAILURES, WINDOW_SECS, Throttle
from tests.front.clikit import Shell


@pytest.fixture
def shell(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.chdir(project)
    monkeypatch.setenv("FLOWRUN_STORE", str(tmp_path / "state.db"))
    for name in ("XCART_URL", "S4_URL", "S4_TOKEN_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("XCART_API_KEY", "XCART_WEBHOOK_SECRET", "S4_CLIENT_ID", "S4_CLIENT_SECRET"):
        monkeypatch.setenv(f"FLOWRUN_SECRET_{name}", "secret-of-this-test")
    return Shell(project, capsys)


def test_a_token_is_shown_once_listed_by_name_and_revoked(shell: Shell) -> None:
    assert "no tokens" in shell("tokens", "list", "--env", "dev")[1]
    code, out, err = shell("tokens", "add", "ann", "--role", "operator", "--env", "dev")
    token = out.strip()
    assert code == 0 and token.startswith("flowrun_") and len(token) > 45 and "not shown again" in err
    code, out, _ = shell("tokens", "list", "--env", "dev")
    assert out.startswith("ann  operator  made ") and "used never" in out and token not in out
    code, _, err = shell("tokens", "add", "ann", "--role", "admin", "--env", "dev")
    assert code == 2 and "choose another name" in err
    assert shell("tokens", "add", "bob\n", "--role", "admin", "--env", "dev")[0] == 2
    assert shell("tokens", "add", "bob", "--role", "root", "--env", "dev")[0] == 2
    assert shell("tokens", "revoke", "ann", "--env", "dev")[:2] == (0, "revoked ann\n")
    code, _, err = shell("tokens", "revoke", "ann", "--env", "dev")
    assert code == 2 and "tokens: none" in err
    assert "revoked 2" in shell("tokens", "list", "--env", "dev")[1]


def test_serve_does_not_open_the_api_beyond_this_machine_without_a_token(shell: Shell) -> None:
    beyond = ("serve", "--env", "test", "--port", "0", "--admin-port", "0", "--admin-host", "0.0.0.0")
    code, out, err = shell(*beyond)
    assert (code, out) == (2, "") and "--admin-host 0.0.0.0 needs --admin-name" in err
    for words in ((*beyond, "--admin-name", "flowrun.example.com"), (*beyond[:-1], "127.0.0.2")):
        code, out, err = shell(*words)
        assert (code, out) == (2, "") and "while there is no token\n  = help: flowrun tokens add NAME" in err
    shell("tokens", "add", "ann", "--role", "admin", "--env", "test")
    shell("tokens", "revoke", "ann", "--env", "test")
    assert shell(*beyond, "--admin-name", "flowrun.example.com")[0] == 2  # a revoked one is none


def test_the_throttle_forgets_after_a_while_and_holds_a_bounded_number() -> None:
    now = [0.0]
    throttle = Throttle(lambda: now[0])
    for _ in range(MOST_FAILURES - 1):
        throttle.failed("a")
    assert throttle.wait_secs("a", "t") == 0.0
    throttle.failed("a")
    now[0] = 10.0
    assert throttle.wait_secs("a", "t") == WINDOW_SECS - 10.0 and throttle.wait_secs("b", "t") == 0.0
    throttle.right("t")
    assert throttle.wait_secs("a", "t") == 0.0 and throttle.wait_secs("a", "u") > 0
    now[0] = WINDOW_SECS + 0.1
    assert throttle.wait_secs("a", "u") == 0.0
    for number in range(MOST_ADDRESSES + 5):
        throttle.failed(str(number))
    assert len(throttle._failures) == MOST_ADDRESSES
