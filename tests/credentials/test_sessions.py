"""Session cookies, against a small Service Layer: odd cookies, idleness, one login at a time, farewell."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from flowrun.errors import AuthFailed, Unavailable
from flowrun.testing.faults import Faults
from flowrun.testing.simulator import SimRequest, SimResponse, Simulator, json_response
from flowrun.values import Secret, decode_json
from tests.credentials.kit import Clockwork, Heard, at_once, connected

PASSWORD = "canary-b1-password"


class ServiceLayer(Simulator):
    name: ClassVar[str] = "b1"

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.sessions: set[str] = set()
        self.logins = self.bad = self.logouts = 0
        self.password = PASSWORD

    def handle(self, request: SimRequest) -> SimResponse:
        cookies = dict(
            part.strip().split("=", 1) for part in request.headers.get("cookie", "").split(";") if "=" in part
        )
        if request.path == "/b1s/v2/Login":
            return self._login(decode_json(request.body))
        session = cookies.get("B1SESSION")
        if request.path == "/b1s/v2/Logout":
            self.logouts += 1
            self.sessions.discard(session or "")
            return SimResponse(204)
        if session not in self.sessions or cookies.get("ROUTEID") != ".node1":
            return json_response({"error": {"code": 301, "message": {"value": "Invalid session"}}}, 401)
        return json_response({"cookies": cookies})

    def _login(self, body: Any) -> SimResponse:
        self.logins += 1
        if body != {"CompanyDB": "SBODEMOUS", "UserName": "flowrun", "Password": self.password, "Language": 3}:
            self.bad += 1
            return json_response({"error": {"code": 100000027, "message": f"Login failed {body}"}}, 401)
        session = f"canary-session-{self.logins}"
        self.sessions.add(session)
        answer = json_response({"SessionId": session, "SessionTimeout": 30})
        answer.cookies = (f"B1SESSION={session};HttpOnly;", "ROUTEID=.node1; path=/b1s")
        return answer


@pytest.fixture
def layer() -> Any:
    simulator = ServiceLayer()
    with simulator.running():
        yield simulator


def auth(**more: Any) -> dict[str, Any]:
    body = {"CompanyDB": "SBODEMOUS", "UserName": "flowrun", "Password": Secret(PASSWORD), "Language": 3}
    return {"session": {"login": "Login", "logout": "Logout", "idle_field": "SessionTimeout", "body": body, **more}}


def client_of(layer: ServiceLayer, setting: Any = None, **more: Any) -> Any:
    return connected(f"{layer.base_url}/b1s/v2", setting or auth(), **more)


def test_one_login_for_many_and_again_when_it_ended(layer: ServiceLayer) -> None:
    client = client_of(layer)
    assert at_once(16, lambda: client.get("Orders").status_code) == [200] * 16
    assert layer.logins == 1
    layer.sessions.clear()
    assert at_once(16, lambda: client.post("Orders", json={}).status_code) == [200] * 16
    assert (layer.logins, layer.bad) == (2, 0)


def test_other_cookies_go_along_and_old_sessions_do_not(layer: ServiceLayer) -> None:
    client = client_of(layer)
    client.cookies.set("mine", "1")
    client.cookies.set("B1SESSION", "stale")
    assert client.get("x").json()["cookies"] == {
        "mine": "1", "B1SESSION": "canary-session-1", "ROUTEID": ".node1"
    }  # fmt: skip


def test_use_keeps_a_session_and_idleness_ends_it(layer: ServiceLayer) -> None:
    clock = Clockwork()
    client = client_of(layer, clock=clock)
    for _ in range(10):
        assert client.get("x").status_code == 200
        clock.time += 20 * 60
    assert layer.logins == 1
    clock.time += 31 * 60
    layer.sessions.clear()
    assert client.get("x").status_code == 200
    assert layer.logins == 2
    assert sum(request.path.endswith("/x") for request in layer.log) == 11, "nothing was sent with an ended session"


def test_cookies_can_stand_in_the_body(layer: ServiceLayer) -> None:
    layer.mangle = lambda request, answer: SimResponse(
        answer.status, answer.body, answer.headers, tuple(c for c in answer.cookies if c.startswith("ROUTE"))
    )
    assert client_of(layer, auth(cookies={"B1SESSION": "SessionId"})).get("x").status_code == 200


def test_farewell_on_closing(layer: ServiceLayer) -> None:
    client = client_of(layer)
    client.auth.close()
    assert layer.logouts == 0, "there is no session yet"
    client.get("x")
    client.auth.close()
    client.auth.close()
    assert (layer.logouts, layer.sessions) == (1, set())


def test_a_refused_login_is_not_repeated_since_that_locks_the_user(layer: ServiceLayer) -> None:
    heard = Heard()
    layer.password = "another"
    client = client_of(layer, heard=heard)
    for _ in range(20):
        with pytest.raises(AuthFailed) as caught:
            client.get("x")
        assert "canary" not in f"{caught.value!r} {caught.value.help}"
    assert layer.logins == 1
    assert heard.said == [("shop", "refused")]


@pytest.mark.parametrize("fault", ["503*", "500*", "reset_before*", "html200*", "empty200*"])
def test_a_layer_that_starts_again_is_waited_for(layer: ServiceLayer, fault: str) -> None:
    layer.faults = Faults.parse(f"{fault};path=Login")
    client = client_of(layer)
    with pytest.raises(Unavailable):
        client.get("x")
    layer.faults = Faults()
    assert client.get("x").status_code == 200
