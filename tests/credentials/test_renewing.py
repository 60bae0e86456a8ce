"""A token's life over real sockets: one refresh for many, early, kept before it is used, never lost."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from flowrun.errors import AuthFailed, ProjectError, RateLimited, StoreError, Unavailable
from flowrun.store.vault import Vault
from flowrun.testing.faults import Faults
from flowrun.testing.simulator import SimResponse, json_response
from tests.credentials.kit import (
    CLIENT_SECRET,
    Clockwork,
    Heard,
    TokenSystem,
    at_once,
    authorisation,
    authorised,
    client_credentials,
    connected,
)


def status(client: Any) -> int:
    return int(client.get("api").status_code)


# -- one for many ----------------------------------------------------------------------------------------------------


def test_sixteen_threads_one_expiry_one_refresh(system: TokenSystem, vault: Vault) -> None:
    authorised(vault, system.base_url)
    with connected(system.base_url, authorisation(system.base_url), vault=vault) as client:
        assert status(client) == 200
        for ended in range(2, 5):
            system.expire_tokens()
            assert at_once(16, lambda: status(client)) == [200] * 16
            assert (system.given, system.bad_token, system.bad_client) == (ended, 0, 0)


def test_sixteen_threads_without_a_vault(system: TokenSystem) -> None:
    system.on_token = lambda: time.sleep(0.2)
    with connected(system.base_url, client_credentials(system.base_url)) as client:
        for ended in range(1, 4):
            assert at_once(16, lambda: status(client)) == [200] * 16
            assert system.given == ended
            system.expire_tokens()


def test_sixteen_clients_of_one_vault_make_one_refresh(system: TokenSystem, vault: Vault) -> None:
    """As sixteen processes: nothing in common but the database."""
    authorised(vault, system.base_url)
    clients = [connected(system.base_url, authorisation(system.base_url), vault=vault) for _ in range(16)]
    assert [status(client) for client in clients] == [200] * 16
    assert system.given == 1
    system.expire_tokens()
    waiting = list(clients)
    assert at_once(16, lambda: status(waiting.pop())) == [200] * 16
    assert (system.given, system.bad_token) == (2, 0)
    for client in clients:
        client.close()


def test_a_system_that_keeps_one_access_token_at_a_time(system: TokenSystem, vault: Vault) -> None:
    """Where a new token ends the old one, the others find the new one and ask for none."""
    system.revoke_old = True
    authorised(vault, system.base_url)
    one = connected(system.base_url, authorisation(system.base_url), vault=vault)
    two = connected(system.base_url, authorisation(system.base_url), vault=vault)
    assert [status(one), status(two)] == [200, 200]
    system.expire_tokens()
    assert [status(one), status(two), status(one)] == [200, 200, 200]
    assert (system.given, system.bad_token) == (2, 0)


# -- early -----------------------------------------------------------------------------------------------------------


def test_it_is_renewed_early_and_not_at_one_moment(system: TokenSystem) -> None:
    moments = []
    for chance in (0.0, 0.5, 0.999):
        clock = Clockwork()
        with connected(system.base_url, client_credentials(system.base_url), clock=clock) as client:
            client.auth._chance = lambda chance=chance: chance
            before = system.given
            status(client)
            while system.given == before + 1:
                clock.time += 10
                status(client)
            moments.append(clock.time - 1000)
    assert all(3600 * 0.84 < moment < 3600 * 0.96 for moment in moments)
    assert len(set(moments)) == 3
    assert system.unauthorized == 0


def test_while_one_renews_early_the_others_go_on(system: TokenSystem) -> None:
    clock = Clockwork()
    client = connected(system.base_url, client_credentials(system.base_url), clock=clock)
    status(client)
    clock.time += 3500
    system.faults = Faults.parse("timeout_before*;path=/token;hang=1.5")
    first, *others = at_once(8, lambda: _timed(client))
    took = sorted(secs for secs, _ in [first, *others])
    assert [code for _, code in [first, *others]] == [200] * 8
    assert took[-2] < 1.0, "only the one that renews waits for the endpoint"


def _timed(client: Any) -> tuple[float, int]:
    start = time.monotonic()
    code = status(client)
    return time.monotonic() - start, code


@pytest.mark.parametrize("fault", ["503*", "429*", "garbage*", "html200*", "reset_before*", "401*"])
def test_an_early_renewal_that_fails_leaves_the_token_in_use(system: TokenSystem, vault: Vault, fault: str) -> None:
    """The endpoint is asked again before the token ends, and not at every request."""
    clock, heard = Clockwork(), Heard()
    authorised(vault, system.base_url)
    client = connected(system.base_url, authorisation(system.base_url), vault=vault, clock=clock, heard=heard)
    assert status(client) == 200
    clock.time += 3500
    system.faults = Faults.parse(f"{fault};path=/token;retry_after=1")
    assert [status(client) for _ in range(20)] == [200] * 20
    assert len(system.faults.hit) == 1
    held = vault.load("shop")
    assert held is not None and held.token is not None and held.token.refresh is not None
    assert held.token.refresh.reveal() == system.refresh, "the grant is what it was"
    system.faults = Faults()
    clock.time += 65
    assert status(client) == 200
    assert system.bad_token == 0
    if fault == "401*":
        assert heard.said == [("shop", "refused")]
        assert heard.ends[0] is not None and heard.ends[0] > datetime.now(UTC), "said before flows stall"
    else:
        assert system.given == 2 and heard.said == []


# -- what the endpoint says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (SimResponse(503, b"<html>"), Unavailable),
        (SimResponse(500, b'{"error":"invalid_grant"}'), Unavailable),
        (SimResponse(502), Unavailable),
        (SimResponse(408), Unavailable),
        (SimResponse(302, b"", {"location": "https://evil.example/"}), Unavailable),
        (SimResponse(200, b"<html>welcome</html>"), Unavailable),
        (SimResponse(200, b""), Unavailable),
        (json_response({"access_token": "with\nline"}), Unavailable),
        (json_response({"access_token": 5}), Unavailable),
        (json_response({"error": "temporarily_unavailable"}, 400), Unavailable),
        (SimResponse(429, b"", {"retry-after": "7"}), RateLimited),
        (json_response({"error": "invalid_grant"}, 400), AuthFailed),
        (json_response({"error": "invalid_client"}, 401), AuthFailed),
        (json_response({"error": "invalid_client"}, 400), AuthFailed),
        (SimResponse(403), AuthFailed),
        (SimResponse(404), AuthFailed),
    ],
)
def test_only_a_definite_no_is_one(system: TokenSystem, answer: SimResponse, error: type[Exception]) -> None:
    system.answer_with = [answer]
    client = connected(system.base_url, client_credentials(system.base_url))
    with pytest.raises(error) as caught:
        status(client)
    assert type(caught.value) is error
    if isinstance(caught.value, RateLimited):
        assert caught.value.retry_after_secs == 7
    if error is not AuthFailed:
        assert status(client) == 200, "asked again at once when nothing was refused"


@pytest.mark.parametrize("fault", ["timeout_before*", "half_open*", "reset_before*", "truncated*", "reset_after*"])
def test_an_endpoint_that_does_not_answer(system: TokenSystem, fault: str) -> None:
    system.faults = Faults.parse(f"{fault};path=/token;hang=2")
    client = connected(system.base_url, client_credentials(system.base_url), timeout=0.4)
    with pytest.raises(Unavailable, match="token endpoint"):
        status(client)


def test_who_waited_for_a_failure_gets_it_and_asks_not_again(system: TokenSystem) -> None:
    system.faults = Faults.parse("503*;path=/token")
    system.faults.hang_secs = 0.3
    client = connected(system.base_url, client_credentials(system.base_url))
    found = at_once(16, lambda: status(client))
    assert all(type(one) is Unavailable for one in found)
    assert len(system.faults.hit) < 16


def test_lives_come_as_numbers_texts_or_not_at_all(system: TokenSystem) -> None:
    for body, wanted in (
        ({"expires_in": 60}, 60),
        ({"expires_in": "3600"}, 3600),
        ({}, 300),
        ({"expires_in": -1}, 300),
    ):
        system.good.add("t")
        system.answer_with = [json_response({"access_token": "t", **body})]
        with connected(system.base_url, client_credentials(system.base_url), clock=Clockwork()) as client:
            status(client)
            assert client.auth.about() == ("oauth2_client_credentials", wanted)


# -- no storms -------------------------------------------------------------------------------------------------------


def test_a_definite_no_is_not_asked_for_again_at_once(system: TokenSystem) -> None:
    clock, heard = Clockwork(), Heard()
    system.secret = "another"
    client = connected(system.base_url, client_credentials(system.base_url), clock=clock, heard=heard)
    for _ in range(50):
        with pytest.raises(AuthFailed):
            status(client)
    assert system.asked == 1
    clock.time += 61
    with pytest.raises(AuthFailed):
        status(client)
    clock.time += 61
    with pytest.raises(AuthFailed):
        status(client)
    assert system.asked == 2, "the second pause is longer"
    assert heard.said == [("shop", "refused")], "said once"
    system.secret = CLIENT_SECRET
    clock.time += 120
    assert status(client) == 200


def test_a_definite_no_holds_for_every_process(system: TokenSystem, vault: Vault) -> None:
    authorised(vault, system.base_url, refresh="canary-never-given")
    heard = Heard()
    for _ in range(4):
        with connected(system.base_url, authorisation(system.base_url), vault=vault, heard=heard) as client:
            for _ in range(3):
                with pytest.raises(AuthFailed) as caught:
                    status(client)
                assert caught.value.help == "flowrun connections authorize shop"
    assert (system.asked, system.bad_token) == (1, 1)
    assert heard.said == [("shop", "reauthorise")]
    system.refresh = "canary-new"
    authorised(vault, system.base_url, refresh="canary-new")
    with connected(system.base_url, authorisation(system.base_url), vault=vault) as client:
        assert status(client) == 200


def test_a_system_that_takes_no_token_does_not_lead_to_a_storm(system: TokenSystem) -> None:
    clock, heard = Clockwork(), Heard()
    client = connected(system.base_url, client_credentials(system.base_url), clock=clock, heard=heard)
    system.mangle = lambda request, answer: answer if request.path == "/token" else json_response({}, 401)
    assert [status(client) for _ in range(30)] == [401] * 30
    assert system.given <= 3
    assert heard.said == [("shop", "refused")]
    system.mangle = None
    assert status(client) == 200


# -- grants ----------------------------------------------------------------------------------------------------------


def test_the_rotated_token_is_committed_before_it_is_used(system: TokenSystem, vault: Vault) -> None:
    """Whoever looks into the vault while the system answers the first call with it finds it there."""
    authorised(vault, system.base_url)
    seen: list[Any] = []

    def look(request: Any, answer: SimResponse) -> SimResponse:
        if request.path == "/api":
            held = vault.load("shop")
            seen.append(held.token.refresh.reveal() if held and held.token and held.token.refresh else None)
        return answer

    system.mangle = look
    with connected(system.base_url, authorisation(system.base_url), vault=vault) as client:
        assert status(client) == 200
    assert seen == ["canary-refresh-1"]


def test_a_token_that_cannot_be_stored_is_not_used_and_not_lost(
    system: TokenSystem, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    authorised(vault, system.base_url)
    client = connected(system.base_url, authorisation(system.base_url), vault=vault)

    def full(*args: Any, **more: Any) -> bool:
        raise StoreError("the store failed: database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(vault, "save", full)
        with pytest.raises(StoreError):
            status(client)
    assert (system.given, system.calls) == (1, 0)
    assert status(client) == 200
    assert (system.given, system.bad_token, system.calls) == (1, 0, 1)


def test_a_slow_one_that_lost_its_lease_still_brings_its_token_home(
    system: TokenSystem, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was given the only good refresh token, while another took over with the used one and was refused."""
    authorised(vault, system.base_url)
    monkeypatch.setattr("flowrun.tokens.renewing.LEASE_SECS", 0.2)
    slow = connected(system.base_url, authorisation(system.base_url), vault=vault)
    quick = connected(system.base_url, authorisation(system.base_url), vault=vault)
    save, stolen = vault.save, []

    def late(*args: Any, **more: Any) -> bool:
        if not stolen:
            stolen.append(1)
            time.sleep(0.4)  # the lease ends before the answer is stored
            with pytest.raises(AuthFailed, match="cut short"):
                status(quick)
        return save(*args, **more)

    monkeypatch.setattr(vault, "save", late)
    assert status(slow) == 200
    assert (system.given, system.bad_token) == (1, 1)
    assert status(quick) == 200, "the refusal is gone with it"
    assert (system.given, system.bad_token) == (1, 1)


def test_a_grant_without_a_key_is_refused_at_once(system: TokenSystem) -> None:
    with pytest.raises(ProjectError, match="encrypted") as caught:
        connected(system.base_url, authorisation(system.base_url))
    assert "FLOWRUN_KEY" in caught.value.help


def test_never_authorised(system: TokenSystem, vault: Vault) -> None:
    heard = Heard()
    client = connected(system.base_url, authorisation(system.base_url), vault=vault, heard=heard)
    for _ in range(3):
        with pytest.raises(AuthFailed, match="never authorised") as caught:
            status(client)
    assert "flowrun connections authorize shop" in caught.value.help
    assert (system.asked, heard.said) == (0, [("shop", "reauthorise")])


def test_a_grant_of_another_client_is_not_used(system: TokenSystem, vault: Vault) -> None:
    authorised(vault, system.base_url)
    client = connected(system.base_url, authorisation(system.base_url, client_id="client-2"), vault=vault)
    with pytest.raises(AuthFailed, match="another client"):
        status(client)
    assert system.asked == 0


def test_a_grant_that_another_key_sealed_is_said_so(system: TokenSystem, vault: Vault) -> None:
    from flowrun.store.seal import Seal
    from flowrun.values import Secret, system_clock
    from tests.credentials.kit import OTHER_KEY

    authorised(vault, system.base_url)
    other = Vault(vault._database, system_clock, Seal(Secret(OTHER_KEY)))
    with pytest.raises(AuthFailed, match="cannot be opened: it was sealed with key"):
        status(connected(system.base_url, authorisation(system.base_url), vault=other))


def test_a_grant_that_ends_soon_is_said_before_it_does(system: TokenSystem, vault: Vault) -> None:
    heard = Heard()
    authorised(vault, system.base_url)
    system.refresh_life = 86400
    client = connected(system.base_url, authorisation(system.base_url), vault=vault, heard=heard)
    assert status(client) == 200 and heard.said == []
    system.refresh_life = 3600  # it ends on a fixed day
    system.expire_tokens()
    assert status(client) == 200
    assert heard.said == [("shop", "expiring")]
    assert 3500 < (heard.ends[0] - datetime.now(UTC)).total_seconds() < 3601
    assert "authorize shop" in heard.words[0]


def test_a_refresh_token_that_is_not_given_anew_stays(system: TokenSystem, vault: Vault) -> None:
    heard = Heard()
    system.rotates = False
    authorised(vault, system.base_url, refresh_left=9000.0, refresh_life=86400.0)
    client = connected(system.base_url, authorisation(system.base_url), vault=vault, heard=heard)
    for _ in range(3):
        assert status(client) == 200
        system.expire_tokens()
    assert (system.given, system.bad_token) == (3, 0)
    assert heard.said == [("shop", "expiring")], "and its end is still known"


# -- clocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump_hours", [1, -1, 24, -24])
def test_wall_clocks_that_jump_cost_nothing(
    system: TokenSystem, vault: Vault, jump_hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spans count, not moments."""
    authorised(vault, system.base_url)
    client = connected(system.base_url, authorisation(system.base_url), vault=vault)
    assert status(client) == 200
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump_hours * 3600)
    assert [status(client) for _ in range(5)] == [200] * 5
    assert (system.given, system.bad_token) == (1, 0)


def test_a_machine_that_slept_renews(system: TokenSystem) -> None:
    clock = Clockwork()
    client = connected(system.base_url, client_credentials(system.base_url), clock=clock)
    assert status(client) == 200
    clock.time += 10 * 3600
    assert status(client) == 200
    assert (system.given, system.unauthorized) == (2, 0)


def test_a_service_tends_to_what_nobody_uses(system: TokenSystem, vault: Vault) -> None:
    clock = Clockwork()
    authorised(vault, system.base_url)
    client = connected(system.base_url, authorisation(system.base_url), vault=vault, clock=clock)
    client.auth.tend()
    client.auth.tend()
    assert system.given == 1
    clock.time += 3600
    client.auth.tend()
    assert (system.given, system.calls) == (2, 0)
