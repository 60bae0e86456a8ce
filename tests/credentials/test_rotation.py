"""Secrets that change while flowrun runs: a refused credential reads its reference again, and tries once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowrun.connections import open_connection
from flowrun.connector import discover
from flowrun.errors import AuthFailed
from flowrun.project import Environment, load_project
from flowrun.testing.simulator import SimRequest, SimResponse, Simulator, json_response
from flowrun.values import system_clock
from tests.credentials.kit import CLIENT_ID, CLIENT_SECRET, Heard, TokenSystem, at_once, client_credentials

OBJECTS = "objects: { orders: { key: id, get: { path: 'orders/{id}' }, fields: { id: text } } }"


class Picky(Simulator):
    """Wants one header to be as ``wants`` says."""

    def __init__(self, header: str, wants: str) -> None:
        super().__init__()
        self.header, self.wants = header, wants
        self.refused = 0

    def handle(self, request: SimRequest) -> SimResponse:
        if request.headers.get(self.header) == self.wants:
            return json_response({"ok": True})
        self.refused += 1
        return json_response({"error": "who?"}, 401)


def own(path: Path, text: str) -> None:
    """A secret's file, which only its owner may read."""
    path.write_text(text)
    path.chmod(0o600)


def project(root: Path, base_url: str, auth: str) -> Any:
    (root / ".secrets").mkdir(exist_ok=True)
    text = f"flowrun: 1\nsecrets: .secrets\nconnections:\n  shop:\n    connector: http\n    base_url: {base_url}\n"
    (root / "flowrun.yaml").write_text(f"{text}    auth: {auth}\n    {OBJECTS}\n")
    return load_project(root)


def opened(root: Path, base_url: str, auth: str, heard: Heard, environ: dict[str, str] | None = None) -> Any:
    return open_connection(
        project(root, base_url, auth),
        Environment("test"),
        "shop",
        discover(),
        now=system_clock,
        environ=environ if environ is not None else {},
        on_trouble=heard,
    ).http


@pytest.fixture
def picky() -> Iterator[Picky]:
    simulator = Picky("x-api-key", "canary-old")
    with simulator.running():
        yield simulator


def test_a_file_that_changed_is_used_without_a_restart(tmp_path: Path, picky: Picky) -> None:
    (tmp_path / ".secrets").mkdir()
    secret, heard = tmp_path / ".secrets/shop_key", Heard()
    own(secret, "canary-old\n")
    client = opened(tmp_path, picky.base_url, "{ api_key: { key: { secret: shop_key } } }", heard)
    assert client.get("x").status_code == 200
    picky.wants = "canary-new"
    assert client.get("x").status_code == 401
    assert picky.refused == 1, "the same is never tried twice"
    assert heard.said == [("shop", "refused")]
    own(secret, "canary-new\n")
    assert client.get("x").status_code == 200
    assert picky.refused == 2
    assert client.get("x").status_code == 200
    assert picky.refused == 2, "and kept"
    picky.wants = "canary-newest"
    assert client.get("x").status_code == 401
    assert heard.said == [("shop", "refused")] * 2, "said again, since it worked between"


def test_sixteen_threads_find_the_new_one(tmp_path: Path, picky: Picky) -> None:
    (tmp_path / ".secrets").mkdir()
    secret = tmp_path / ".secrets/shop_key"
    own(secret, "canary-old")
    client = opened(tmp_path, picky.base_url, "{ api_key: { key: { secret: shop_key } } }", Heard())
    client.get("x")
    own(secret, "canary-new")
    picky.wants = "canary-new"
    assert at_once(16, lambda: client.post("x", json={}).status_code) == [200] * 16


def test_a_secret_that_is_gone_leaves_what_there_was(tmp_path: Path, picky: Picky) -> None:
    (tmp_path / ".secrets").mkdir()
    secret = tmp_path / ".secrets/shop_key"
    own(secret, "canary-old")
    client = opened(tmp_path, picky.base_url, "{ api_key: { key: { secret: shop_key } } }", Heard())
    secret.unlink()
    picky.wants = "another"
    assert client.get("x").status_code == 401
    picky.wants = "canary-old"
    assert client.get("x").status_code == 200


def test_variables_and_the_keyring_are_read_again(
    tmp_path: Path, picky: Picky, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {"SHOP_KEY": "canary-old"}
    client = opened(tmp_path, picky.base_url, "{ api_key: { key: { env: SHOP_KEY } } }", Heard(), environ)
    assert client.get("x").status_code == 200
    picky.wants = environ["SHOP_KEY"] = "canary-new"
    assert client.get("x").status_code == 200
    ring = {"shop_key": "canary-new"}
    monkeypatch.setattr("flowrun.secret_places._of_keyring", lambda name: (ring.get(name), ""))
    client = opened(tmp_path, picky.base_url, "{ api_key: { key: { secret: shop_key } } }", Heard())
    assert client.get("x").status_code == 200
    picky.wants = ring["shop_key"] = "canary-newest"
    assert client.get("x").status_code == 200


def test_a_client_secret_that_changed_is_used_at_the_token_endpoint(tmp_path: Path, system: TokenSystem) -> None:
    (tmp_path / ".secrets").mkdir()
    secret, heard = tmp_path / ".secrets/client", Heard()
    own(secret, CLIENT_SECRET)
    auth = f"{{ oauth2_client_credentials: {{ token_url: '{system.base_url}/token', client_id: {CLIENT_ID}, client_secret: {{ secret: client }} }} }}"
    client = opened(tmp_path, system.base_url, auth, heard)
    assert client.get("api").status_code == 200
    system.secret = "canary-rotated"
    system.expire_tokens()
    with pytest.raises(AuthFailed):
        client.get("api")
    assert system.bad_client == 1
    own(secret, "canary-rotated")
    assert client.get("api").status_code == 200, "at once, though a pause was on"
    assert system.bad_client == 1
    system.secret = "canary-again"
    own(secret, "canary-again")
    system.expire_tokens()
    assert client.get("api").status_code == 200
    assert system.bad_client == 2, "refused once, read again, tried once"
    assert heard.said == [("shop", "refused")]


def test_a_connectors_own_secret_changes_too(tmp_path: Path) -> None:
    """X-Cart carries its key itself."""
    from flowrun.connections import build
    from flowrun.values import Secret
    from flowrun_connectors.xcart.connector import XCart
    from flowrun_connectors.xcart.simulator import XCartSimulator

    simulator = XCartSimulator()
    with simulator.running():
        good = simulator.connection_settings()
        settings = {**good, "profile": "compat", "api_key": Secret("canary-wrong")}
        shop = build(
            XCart, "xcart", settings, now=system_clock, root=tmp_path, read=lambda: settings, on_trouble=Heard()
        )
        assert not shop.check().ok
        settings["api_key"] = good["api_key"]
        assert shop.check().ok


@pytest.mark.parametrize(("fault", "wanted"), [("503*", "network"), ("429*", "rate_limited"), ("401*", "auth")])
def test_what_a_connector_makes_of_a_token_endpoint(
    tmp_path: Path, system: TokenSystem, fault: str, wanted: str
) -> None:
    """The class that a flow's on_error sees, for a write: nothing was sent, so nothing is in doubt, and only a definite
    no pauses the connection."""
    from flowrun.connections import build
    from flowrun.connector import Item
    from flowrun.testing.faults import Faults
    from flowrun_connectors.http.connector import Http

    system.faults = Faults.parse(f"{fault};path=/token")
    orders = {"key": "id", "create": {"path": "orders"}, "fields": {"id": "text"}}
    settings = {"base_url": system.base_url, "auth": client_credentials(system.base_url), "objects": {"orders": orders}}
    connector = build(Http, "shop", settings, now=system_clock, root=tmp_path, on_trouble=Heard())
    (verdict,) = connector.deliver([Item("orders", "create", {"id": "1"}, "key-1")])
    assert verdict.error_class == wanted
    assert system.calls == 0
    system.faults = Faults()
