"""No secret shows: every scheme, going well and badly, at DEBUG; and a stolen database tells nothing."""

from __future__ import annotations

import io
import json
import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from flowrun.logs import configure, log
from flowrun.testing.faults import Faults
from flowrun.values import Secret
from tests.credentials.kit import (
    CLIENT_SECRET,
    KEY,
    Clockwork,
    Heard,
    TokenSystem,
    authorisation,
    authorised,
    client_credentials,
    connected,
    files_of,
    vault_at,
)
from tests.credentials.test_sessions import PASSWORD, ServiceLayer, auth

FAULTS = (
    "", "401*", "403*", "429*", "500*", "503*", "garbage*", "html200*", "reset_before*", "307*", "truncated*", "not_utf8*",
    "401*;path=/token", "500*;path=/token", "garbage_after*;path=/token", "reset_after*;path=/token",
)  # fmt: skip


@contextmanager
def listening(heard: io.StringIO) -> Iterator[None]:
    """Everything that is printed or logged, by us or the libraries, at DEBUG."""
    root = logging.getLogger()
    handler, level = logging.StreamHandler(heard), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    loggers = [logging.getLogger(name) for name in ("httpx", "httpcore", "sqlalchemy.engine", "oauthlib")]
    before = [one.level for one in loggers]
    try:
        with redirect_stderr(heard), redirect_stdout(heard):
            configure("json", "debug")
            for one in loggers:
                one.setLevel(logging.DEBUG)
            yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        for one, was in zip(loggers, before, strict=True):
            one.setLevel(was)
        configure("auto", "warning")


def said_by(call: Callable[[], Any]) -> str:
    try:
        return repr(call())
    except Exception as error:
        facts = {name: repr(value) for name, value in vars(error).items()}
        return "".join(traceback.format_exception(error)) + f"{error!r} {error} {facts}"


def schemes(base_url: str, pem: str) -> dict[str, Any]:
    return {
        "basic": {"basic": {"user": "jo", "password": Secret("canary-password")}},
        "bearer": {"bearer": {"token": Secret("canary-bearer")}},
        "header": {"api_key": {"key": Secret("canary-key")}},
        "query": {"api_key": {"key": Secret("canary-query"), "query": "api_key"}},
        "client_credentials": client_credentials(base_url),
        "in_body": client_credentials(base_url, send="body"),
        "authorisation": authorisation(base_url),
        "jwt": {"oauth2_jwt_bearer": {"token_url": f"{base_url}/token", "client_id": "c", "key": Secret(pem)}},
        "oauth1": {
            "oauth1": {
                "consumer_key": "ck", "consumer_secret": Secret("canary-consumer"),
                "token": "tk", "token_secret": Secret("canary-token-secret"),
            }
        },
    }  # fmt: skip


@pytest.fixture(scope="module")
def pem() -> str:
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()).decode()


NAMES = sorted(schemes("http://x", ""))


@pytest.mark.parametrize("name", NAMES)
def test_no_scheme_shows_its_secret(system: TokenSystem, tmp_path: Path, pem: str, name: str) -> None:
    heard = io.StringIO()
    vault = vault_at(f"sqlite:///{tmp_path / 's.db'}")
    setting = schemes(system.base_url, pem)[name]
    told = Heard()
    with listening(heard):
        for fault in (*FAULTS, "repeats"):
            system.faults = Faults()
            authorised(vault, system.base_url)
            system.refresh = "canary-refresh-0"
            client = connected(system.base_url, setting, vault=vault, heard=told, clock=Clockwork(), timeout=0.5)
            system.secret = "another" if fault == "repeats" else CLIENT_SECRET  # it says what it was sent
            system.faults = Faults.parse(fault) if fault not in ("", "repeats") else Faults()
            for _ in range(2):
                heard.write(said_by(lambda client=client: client.get("api")))
                heard.write(said_by(lambda client=client: client.post("api", json={"a": 1})))
                system.expire_tokens()
            for thing in (client, client.auth, vars(client.auth), vault, vault.load("shop"), vault.states()):
                heard.write(f"\n{thing!r} {thing}\n")
            log().info("settings", setting=setting, token="canary-field")
            client.close()
    told.words.append(heard.getvalue())
    shown = "\n".join(told.words)
    assert len(shown) > 2000, "the check hears something"
    for canary in ("canary", KEY, pem.splitlines()[1]):
        assert canary not in shown, f"{name}: …{shown[max(0, shown.index(canary) - 300) : shown.index(canary) + 200]}"
    vault._database.close()
    assert b"canary" not in files_of(tmp_path)


def test_a_token_that_was_given_is_masked_in_whatever_is_logged(system: TokenSystem) -> None:
    heard = io.StringIO()
    with listening(heard):
        connected(system.base_url, client_credentials(system.base_url)).get("api")
        log().info("said", text="a system repeats canary-access-1 in its words")
    assert "a system repeats *** in its words" in heard.getvalue()


def test_no_session_shows(tmp_path: Path) -> None:
    heard, layer = io.StringIO(), ServiceLayer()
    with layer.running(), listening(heard):
        for fault in FAULTS:
            layer.faults = Faults.parse(fault.replace("/token", "Login")) if fault else Faults()
            client = connected(f"{layer.base_url}/b1s/v2", auth(), clock=Clockwork(), timeout=0.5)
            for _ in range(2):
                heard.write(said_by(lambda client=client: client.get("Orders")))
            heard.write(f"{client!r} {client.auth!r} {vars(client.auth)!r}")
            client.auth.close()
            client.close()
    assert "Renewing" in heard.getvalue() and "canary" not in heard.getvalue() and PASSWORD not in heard.getvalue()


def test_the_check_would_hear_it(system: TokenSystem) -> None:
    """The canary check itself, seen red: one careless line is enough."""
    heard = io.StringIO()
    with listening(heard):
        logging.getLogger("careless").debug("asking with %s", json.dumps({"client_secret": CLIENT_SECRET}))
    assert "canary" in heard.getvalue()
