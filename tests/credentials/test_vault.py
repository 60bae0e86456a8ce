"""Tokens at rest: compare-and-set, one lease at a time, sealed and bound, keys that change."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import select, text, update

from flowrun.credentials.token import Token
from flowrun.errors import ProjectError
from flowrun.store.schema import tokens
from flowrun.store.seal import Seal, SealBroken
from flowrun.store.vault import Vault
from flowrun.values import Secret, system_clock
from tests.credentials.kit import KEY, OTHER_KEY, at_once, files_of, vault_at


def token(name: str = "a", left: float = 100.0, refresh_left: float | None = None) -> Token:
    return Token(
        Secret(f"canary-access-{name}"), left, 100.0, Secret(f"canary-refresh-{name}"), refresh_left, 900.0, "x"
    )


def put(vault: Vault, connection: str, one: Token) -> None:
    lease = vault.lease(connection, 10)
    assert lease is not None
    held = vault.load(connection)
    assert held is not None
    assert vault.save(connection, one, held.version, lease, scheme="oauth2_authorization_code")
    vault.release(lease)


def test_what_was_saved_is_loaded_with_what_is_left_of_it(vault: Vault) -> None:
    assert vault.load("xero") is None
    put(vault, "xero", token(refresh_left=500.0))
    held = vault.load("xero")
    assert held is not None and held.token is not None
    assert (held.version, held.token.access.reveal(), held.token.issued_for) == (1, "canary-access-a", "x")
    assert held.token.refresh == Secret("canary-refresh-a")
    assert 95 < held.token.left <= 100 and 495 < (held.token.refresh_left or 0) <= 500


def test_only_who_read_the_newest_may_save(vault: Vault) -> None:
    put(vault, "xero", token("a"))
    lease = vault.lease("xero", 10)
    assert lease is not None
    assert not vault.save("xero", token("old"), 0, lease)
    assert vault.save("xero", token("b"), 1, lease)
    assert not vault.save("xero", token("again"), 1, lease)
    held = vault.load("xero")
    assert held is not None and held.token is not None and held.token.access == Secret("canary-access-b")


def test_one_of_many_gets_the_lease(vault: Vault) -> None:
    found = at_once(12, lambda: vault.lease("xero", 30))
    assert sum(one is not None for one in found) == 1
    assert not [one for one in found if isinstance(one, Exception)]


def test_a_lease_ends_by_itself_and_says_that_it_was_cut_short(vault: Vault) -> None:
    first = vault.lease("xero", 0.2)
    assert first is not None and not first.interrupted
    assert vault.lease("xero", 10) is None
    time.sleep(0.3)
    second = vault.lease("xero", 10)
    assert second is not None and second.interrupted
    vault.release(second)
    third = vault.lease("xero", 10)
    assert third is not None and not third.interrupted


def test_who_lost_the_lease_overwrites_nothing_and_frees_nothing(vault: Vault) -> None:
    slow = vault.lease("xero", 0.1)
    time.sleep(0.2)
    quick = vault.lease("xero", 10)
    assert slow is not None and quick is not None
    assert not vault.save("xero", token("slow"), 0, slow)
    assert vault.lease("xero", 10, slow) is None
    vault.release(slow)
    assert vault.lease("xero", 10) is None, "the quick one still holds it"
    assert vault.save("xero", token("quick"), 0, quick)


def test_a_lease_is_judged_by_the_clock_of_the_database(vault: Vault) -> None:
    """A machine whose clock is an hour ahead takes nobody's lease."""
    assert vault.lease("xero", 30) is not None
    ahead = Vault(vault._database, lambda: system_clock().replace(year=2100), vault._seal)
    assert ahead.lease("xero", 30) is None


def test_a_moved_ciphertext_does_not_open(vault: Vault) -> None:
    put(vault, "xero", token("a"))
    put(vault, "other", token("b"))
    with vault._database.transaction() as tx:
        stolen = tx.execute(select(tokens.c.sealed).where(tokens.c.connection == "xero")).scalar()
        tx.execute(update(tokens).where(tokens.c.connection == "other").values(sealed=stolen))
    moved, own = vault.load("other"), vault.load("xero")
    assert moved is not None and moved.token is None and moved.unreadable == "it is damaged"
    assert own is not None and own.token is not None


def test_without_the_key_nothing_opens(vault: Vault) -> None:
    put(vault, "xero", token())
    held = Vault(vault._database, system_clock, Seal(Secret(OTHER_KEY))).load("xero")
    assert held is not None and held.token is None
    assert "sealed with key" in held.unreadable


def test_keys_change_while_tokens_are_renewed(vault: Vault) -> None:
    """Old and new keys open until all is sealed with the new; then the old one opens nothing."""
    names = [f"c{n}" for n in range(8)]
    for name in names:
        put(vault, name, token(name))
    both = Vault(vault._database, system_clock, Seal(Secret(f"{OTHER_KEY}, {KEY}")))
    found = at_once(2, lambda: both.rotate())
    for name in names[:4]:
        put(both, name, token(f"new-{name}"))
    assert sorted(found)[-1] > 0 and not [one for one in found if isinstance(one, Exception)]
    assert both.rotate() == 0
    new = Vault(vault._database, system_clock, Seal(Secret(OTHER_KEY)))
    assert [new.load(name).token.access.reveal() for name in names] == [  # type: ignore[union-attr]
        f"canary-access-{'new-' if n < 4 else ''}c{n}" for n in range(8)
    ]
    assert all(vault.load(name).token is None for name in names)  # type: ignore[union-attr]


def test_a_refusal_is_remembered_until_a_token_is_saved(vault: Vault) -> None:
    lease = vault.lease("xero", 10)
    assert lease is not None
    vault.refuse(lease, "refused", "no", "mark")
    vault.refuse(lease, "refused", "no", "mark")
    held = vault.load("xero")
    assert held is not None and held.refusal is not None and held.refusal.count == 2 and held.refusal.ago < 5
    assert vault.save("xero", token(), 0, lease)
    held = vault.load("xero")
    assert held is not None and held.refusal is None


def test_states_show_no_secret(vault: Vault) -> None:
    put(vault, "xero", token(refresh_left=500.0))
    (state,) = vault.states()
    assert (state.connection, state.scheme, state.renewing) == ("xero", "oauth2_authorization_code", False)
    assert state.expires_at is not None and 95 < (state.expires_at - system_clock()).total_seconds() < 101
    assert "canary" not in repr(state) + repr(vault.load("xero"))


def test_the_files_hold_no_secret(tmp_path: Path) -> None:
    vault = vault_at(f"sqlite:///{tmp_path / 's.db'}")
    for n in range(5):
        put(vault, "xero", token(str(n)))
    with vault._database.transaction() as tx:
        assert tx.execute(text("SELECT count(*) FROM tokens")).scalar() == 1
    found = files_of(tmp_path)
    assert b"xero" in found, "the check reads what was written"
    assert b"canary" not in found
    assert KEY.encode() not in found
    vault._database.close()


@pytest.mark.parametrize("key", ["", "short", "a" * 43, "####", KEY + "AAAA"])
def test_what_is_no_key(key: str) -> None:
    with pytest.raises(ProjectError) as caught:
        Seal(Secret(key))
    assert "openssl rand -base64 32" in caught.value.help
    assert not key or key not in str(caught.value)


def test_a_seal_is_bound_to_a_name() -> None:
    seal = Seal(Secret(KEY))
    sealed = seal.close(b"text", "a")
    assert seal.open(sealed, "a") == b"text" and b"text" not in sealed
    with pytest.raises(SealBroken):
        seal.open(sealed, "b")
    with pytest.raises(SealBroken):
        seal.open(sealed[:-1] + b"x", "a")
