"""A person says yes: by a redirect to this machine, by pasting, or not at all."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from click.testing import CliRunner

from flowrun.cli.main import cli
from flowrun.credentials.schemes import read_scheme
from flowrun.errors import AuthFailed, ProjectError
from flowrun.tokens.authorize import Loopback, ask, code_of
from tests.credentials.kit import CLIENT_ID, CLIENT_SECRET, KEY, TokenSystem, authorisation, files_of

PROJECT = """flowrun: 1
store: {{ key: {{ env: FLOWRUN_KEY }} }}
connections:
  xero:
    connector: http
    base_url: {url}
    auth:
      oauth2_authorization_code:
        authorize_url: {url}/authorize
        token_url: {url}/token
        client_id: {id}
        client_secret: {{ secret: xero_secret }}
        scope: offline_access
    health: api
    objects: {{ orders: {{ key: id, get: {{ path: "orders/{{id}}" }}, fields: {{ id: text }} }} }}
  plain:
    connector: http
    base_url: {url}
    auth: {{ bearer: {{ token: {{ secret: xero_secret }} }} }}
    objects: {{ orders: {{ key: id, get: {{ path: "orders/{{id}}" }}, fields: {{ id: text }} }} }}
environments: {{ dev: {{}} }}
"""
ENV = {"FLOWRUN_KEY": KEY, "FLOWRUN_SECRET_XERO_SECRET": CLIENT_SECRET}


@pytest.fixture
def root(tmp_path: Path, system: TokenSystem, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "flowrun.yaml").write_text(PROJECT.format(url=system.base_url, id=CLIENT_ID))
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args: str, input: str = "") -> Any:
    return CliRunner().invoke(cli, ["connections", *args], input=input, standalone_mode=False)


def browser(url: str) -> httpx.Response:
    """What a person's browser does: open the address, say yes, follow the redirect."""
    return httpx.get(url, follow_redirects=True, timeout=10, trust_env=False)


def test_by_redirect_and_then_checked(root: Path, system: TokenSystem) -> None:
    """The command as a person starts it, in a process of its own."""
    command_line = [sys.executable, "-m", "flowrun", "connections"]
    process = subprocess.Popen(
        [*command_line, "authorize", "xero", "--no-browser"], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )  # fmt: skip
    assert process.stdout is not None
    said = ""
    while "/authorize?" not in said:
        said += process.stdout.readline()
    url = re.search(r"http\S+/authorize\?\S+", said)
    assert url is not None
    query = parse_qs(urlsplit(url.group()).query)
    assert query["code_challenge_method"] == ["S256"] and query["scope"] == ["offline_access"]
    redirect = query["redirect_uri"][0]
    assert redirect.startswith("http://127.0.0.1:")
    assert httpx.get(f"{redirect}?code=canary-x&state=wrong", trust_env=False).status_code == 400, "waited on"
    page = browser(url.group())
    assert page.status_code == 200 and "close this window" in page.text
    rest = process.communicate(timeout=30)[0]
    assert process.returncode == 0, rest
    assert "the grant is stored" in rest and "canary" not in said + rest
    assert b"canary" not in files_of(root / ".flowrun")

    checked = subprocess.run([*command_line, "check", "xero"], cwd=root, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert re.search(r"oauth2_authorization_code; the token ends in (59 min|1 h)", checked.stdout)
    assert "renewed" in checked.stdout and "canary" not in checked.stdout
    listed = subprocess.run([*command_line, "list"], cwd=root, capture_output=True, text=True, timeout=60).stdout
    assert listed == "xero  http  oauth2_authorization_code\nplain  http  bearer\n"


def says_yes(monkeypatch: pytest.MonkeyPatch, *, whole: bool = True) -> None:
    """A person who opens the address, says yes and pastes where it leads to, or the code in it."""
    asked: list[Any] = []

    def remembered(*args: Any) -> Any:
        asked.append(ask(*args))
        return asked[-1]

    def paste(_words: str) -> str:
        address = httpx.get(asked[-1].url, trust_env=False).headers["location"]
        return address if whole else parse_qs(urlsplit(address).query)["code"][0]

    monkeypatch.setattr("flowrun.tokens.authorize.ask", remembered)
    monkeypatch.setattr("click.prompt", paste)


@pytest.mark.parametrize("whole", [True, False])
def test_by_pasting_the_address_or_the_code(
    root: Path, system: TokenSystem, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    says_yes(monkeypatch, whole=whole)
    done = run("authorize", "xero", "--paste")
    assert done.exception is None, done.output
    assert "the grant is stored" in done.output and system.refresh == "canary-refresh-1"
    assert system.forms[0]["redirect_uri"] == "http://127.0.0.1/callback"


def test_a_new_yes_replaces_a_grant_that_is_refused(
    root: Path, system: TokenSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    says_yes(monkeypatch)
    run("authorize", "xero", "--paste")
    system.refresh = "revoked-meanwhile"
    system.expire_tokens()
    done = run("check", "xero")
    assert done.return_value == 4 and "flowrun connections authorize xero" in done.output
    assert run("authorize", "xero", "--paste").exception is None
    assert run("check", "xero").return_value == 0


def question(system: TokenSystem) -> Any:
    return ask(read_scheme(authorisation(system.base_url)), "http://127.0.0.1:1/callback")  # type: ignore[arg-type]


def test_another_state_is_another_question(system: TokenSystem) -> None:
    mine, theirs = question(system), question(system)
    address = httpx.get(theirs.url, trust_env=False).headers["location"]
    with pytest.raises(AuthFailed, match="state differs"):
        code_of(mine, address)
    assert code_of(theirs, address).startswith("canary-code")
    with pytest.raises(AuthFailed, match="state differs"):
        code_of(mine, "http://127.0.0.1:1/callback?code=x")
    with pytest.raises(AuthFailed, match="no code"):
        code_of(mine, " ")
    assert mine.verifier not in repr(mine)


def test_the_code_alone_is_worth_nothing_without_the_verifier(
    root: Path, system: TokenSystem, monkeypatch: Any
) -> None:
    """Somebody else's code, pasted: the token endpoint compares the verifier."""
    theirs = httpx.get(question(system).url, trust_env=False).headers["location"]
    monkeypatch.setattr("click.prompt", lambda _: parse_qs(urlsplit(theirs).query)["code"][0])
    done = run("authorize", "xero", "--paste")
    assert isinstance(done.exception, AuthFailed) and done.exception.code == "invalid_grant"
    assert system.given == 0


def test_a_no_is_a_no(system: TokenSystem) -> None:
    system.deny = True
    loopback = Loopback()
    asked = ask(read_scheme(authorisation(system.base_url)), loopback.url)  # type: ignore[arg-type]
    threading.Timer(0.2, lambda: browser(asked.url)).start()
    with pytest.raises(AuthFailed, match="access_denied"):
        loopback.wait(asked, 10)


def test_the_redirect_listens_on_this_machine_for_one_answer(system: TokenSystem) -> None:
    loopback = Loopback()
    asked = ask(read_scheme(authorisation(system.base_url)), loopback.url)  # type: ignore[arg-type]
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(loopback.wait(asked, 10)))
    thread.start()
    good = httpx.get(asked.url, trust_env=False).headers["location"]
    port = urlsplit(loopback.url).port
    assert httpx.get(good, headers={"host": f"evil.example:{port}"}, trust_env=False).status_code == 404
    assert httpx.get(good.replace("/callback", "/other"), trust_env=False).status_code == 404
    assert httpx.get(good, trust_env=False).status_code == 200
    thread.join(10)
    assert found and found[0].startswith("canary-code")
    with pytest.raises(httpx.ConnectError):
        httpx.get(good, trust_env=False)


def test_nobody_says_yes(system: TokenSystem) -> None:
    loopback = Loopback()
    with pytest.raises(AuthFailed, match="nobody said yes"):
        loopback.wait(question(system), 0.2)


@pytest.mark.parametrize("address", ["https://company.example/callback", "http://10.0.0.1:8080/x", "ftp://127.0.0.1/"])
def test_a_redirect_elsewhere_is_pasted(address: str) -> None:
    with pytest.raises(ProjectError) as caught:
        Loopback(address)
    assert caught.value.help == "use --paste"


def test_what_cannot_be_authorised(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("authorize", "plain")
    assert isinstance(done.exception, ProjectError) and "needs no person" in done.exception.message
    text = (root / "flowrun.yaml").read_text()
    (root / "flowrun.yaml").write_text(text.replace("store: { key: { env: FLOWRUN_KEY } }\n", ""))
    done = run("authorize", "xero")
    assert isinstance(done.exception, ProjectError) and "names no key" in done.exception.message
    assert "openssl rand" in done.exception.help
    assert "there is no key" in run("check", "xero").output


def test_a_system_that_gives_no_refresh_token(root: Path, system: TokenSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    system.rotates = False
    says_yes(monkeypatch)
    done = run("authorize", "xero", "--paste")
    assert isinstance(done.exception, AuthFailed) and "offline_access" in done.exception.help


def test_a_key_in_a_file_is_for_its_owner_alone(root: Path) -> None:
    text = (root / "flowrun.yaml").read_text().replace("env: FLOWRUN_KEY", "file: .key")
    (root / "flowrun.yaml").write_text(text)
    assert "No such file" in str(run("check", "xero").exception)
    (root / ".key").write_text(KEY + "\n")
    (root / ".key").chmod(0o640)
    done = run("check", "xero")
    assert isinstance(done.exception, ProjectError) and done.exception.help.startswith("chmod 600")
    (root / ".key").chmod(0o600)
    assert "was never authorised" in run("check", "xero").output
