"""What may be in force where, and that it changes in one step."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from flowrun.promotion import Place, read_bundle
from flowrun.promotion.bundle import sha256
from flowrun.store.database import postgres_url
from tests.promotion.conftest import Desk
from tests.promotion.test_bundle import small

LATER, LATEST = "2026-05-05T10:00:00Z", "2026-05-06T10:00:00Z"
FLOW = "flows/xcart-s4hana/orders-to-s4.yaml"


def in_force(desk: Desk, file: str = FLOW) -> str:
    return (desk.target / "current" / file).read_text(encoding="utf-8")


def test_applied_it_runs_and_its_state_outlives_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert desk.apply(desk.built()).code == 0
    assert in_force(desk) == (desk.root / FLOW).read_text(encoding="utf-8")
    desk.edit(FLOW, "order.total_amount > 1000", "order.total_amount > 1000.001", commit=LATER)
    newer = desk.built("newer.bundle")
    ended = desk.apply(newer)
    assert ended.code == 0 and "instead of" in ended.out
    assert "> 1000.001" in in_force(desk)
    monkeypatch.chdir(desk.target / "current")
    assert desk("validate").code == 0 and desk("test").code == 0
    assert desk("state", "show", "--env", "prod").code == 0
    assert [path.name for path in (desk.target / "state").glob("*.db")] == ["state-prod.db"]
    status = desk("promote", "status", "--to", desk.target)
    assert status.code == 0 and "before it: " in status.out


def test_rollback_and_forward_again(desk: Desk) -> None:
    desk.apply(desk.built())
    desk.edit(FLOW, "order.total_amount > 1000", "order.total_amount > 1000.001", commit=LATER)
    desk.apply(desk.built("newer.bundle"))
    ended = desk("promote", "rollback", "--to", desk.target, "--env", "prod")
    assert ended.code == 0 and "in force again" in ended.out
    assert "> 1000\n" in in_force(desk)
    assert desk("promote", "rollback", "--to", desk.target, "--env", "prod").code == 3
    assert desk.apply("newer.bundle").code == 0
    assert "> 1000.001" in in_force(desk)


def test_older_made_for_another_or_of_another_project(desk: Desk) -> None:
    old = desk.built("old.bundle")
    desk.edit(FLOW, "order.total_amount > 1000", "order.total_amount > 1000.001", commit=LATER)
    desk.apply(desk.built("new.bundle"))
    refused = desk.apply(old)
    assert refused.code == 3 and "older than what is there" in refused.err
    assert "> 1000.001" in in_force(desk)
    assert desk.apply(old, env="qa").err.startswith("refused: the bundle was made for environment 'prod', not for 'qa'")
    assert desk("promote", "verify", old, "--to", desk.target).code == 3
    assert desk.apply(old, "--downgrade").code == 0
    assert "> 1000\n" in in_force(desk)
    desk.edit("flowrun.yaml", "project: shop-to-erp", "project: other", commit=LATEST)
    assert "holds project 'other'; here stands 'shop-to-erp'" in desk.apply(desk.built("other.bundle")).err


def test_failed_tests(desk: Desk) -> None:
    desk.edit(FLOW, "order.total_amount > 1000", "order.total_amount > 10000")
    ended = desk("promote", "build", "--env", "qa", "--to", "prod", "-o", "out.bundle")
    assert ended.code == 1 and "failed: xcart-orders-to-s4: a big foreign order" in ended.out
    refused = desk.apply("out.bundle")
    assert refused.code == 3 and "tests failed" in refused.err
    assert not (desk.target / "current").exists()


def test_approvals_that_count(desk: Desk) -> None:
    keys = desk.wants_approval("anna", "bert", count=2, commit=LATER)
    bundle = desk.built()
    stranger = desk.approver("mallory")
    assert "wants 2 approvals, and nobody approved" in desk.apply(bundle).err
    for by, key in (("mallory", stranger), ("anna", keys["anna"]), ("bert", keys["anna"]), ("bert", stranger)):
        assert desk("promote", "approve", bundle, "--by", by, "--key", key).code == 0
        assert desk.apply(bundle).code == 3, by  # unknown; one of two; the same key twice; another's key
    assert desk("promote", "approve", bundle, "--by", "bert", "--key", keys["bert"]).code == 0
    assert "approved by anna, bert" in desk("promote", "verify", bundle).out
    assert desk.apply(bundle).code == 0


def test_nobody_makes_himself_an_approver(desk: Desk) -> None:
    keys = desk.wants_approval("anna", commit=LATER)
    first = desk.built("first.bundle")
    desk("promote", "approve", first, "--by", "anna", "--key", keys["anna"])
    assert desk.apply(first).code == 0
    public = desk("promote", "key", desk.approver("mallory")).out.strip()
    old = desk("promote", "key", keys["anna"]).out.strip()
    desk.edit("flowrun.yaml", f"anna: {old}", f"mallory: {public}", commit=LATEST)
    taken = desk.built("taken.bundle")
    desk("promote", "approve", taken, "--by", "mallory", "--key", desk.approver("mallory"))
    refused = desk.apply(taken)
    assert refused.code == 3 and "nobody approved" in refused.err
    desk("promote", "approve", taken, "--by", "anna", "--key", keys["anna"])
    assert desk.apply(taken).code == 0  # she hands over


def test_a_policy_that_cannot_be_read_lets_nothing_through(desk: Desk) -> None:
    keys = desk.wants_approval("anna", commit=LATER)
    first = desk.built("first.bundle")
    desk("promote", "approve", first, "--by", "anna", "--key", keys["anna"])
    assert desk.apply(first).code == 0
    there = desk.target / "current/flowrun.yaml"
    there.write_text(there.read_text().replace("project:", "projekt:"))
    desk.edit(FLOW, "order.total_amount > 1000", "order.total_amount > 1000.001", commit=LATEST)
    refused = desk.apply(desk.built("next.bundle"))
    assert refused.code == 3 and "is not in order" in refused.err


def test_edited_by_hand_it_is_said_and_mended(desk: Desk) -> None:
    bundle = desk.built()
    desk.apply(bundle)
    assert "is in force already" in desk.apply(bundle).out
    (desk.target / "current" / FLOW).write_text("nothing")
    (desk.target / "current/flows/more.yaml").write_text("nothing")
    status = desk("promote", "status", "--to", desk.target)
    assert status.code == 1 and f"edited here: {FLOW}" in status.out and "edited here: flows/more.yaml" in status.out
    assert desk.apply(bundle).code == 0
    assert desk("promote", "status", "--to", desk.target).code == 0
    (desk.target / "current" / FLOW).write_text("nothing")
    assert desk.apply(bundle).code == 0
    assert desk("promote", "status", "--to", desk.target).code == 0


def test_another_connector_here_makes_another_flow(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from flowrun_connectors.s4hana.connector import S4Hana

    bundle, own = desk.built(), S4Hana.describe
    monkeypatch.setattr(S4Hana, "describe", classmethod(lambda cls, object, settings=None: None))
    refused = desk.apply(bundle)
    assert refused.code == 3 and "than where it was tried" in refused.err, refused.err
    assert not (desk.target / "current").exists() and [*(desk.target / "releases").iterdir()] == []
    monkeypatch.setattr(S4Hana, "describe", own)
    assert desk.apply(bundle).code == 0


def test_secrets_of_the_place_are_seen_by_each_release(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.edit("flowrun.yaml", "project: shop-to-erp", "project: shop-to-erp\nsecrets: conf/secret", commit=LATER)
    (desk.target / "secrets").mkdir(mode=0o700)
    (desk.target / "secrets/s4_client_id").write_text("x")
    assert desk.apply(desk.built()).code == 0
    monkeypatch.chdir(desk.target / "current")
    assert "secret s4_client_id" not in desk("env", "list").out
    assert desk("promote", "status", "--to", desk.target).code == 0


@pytest.mark.parametrize("where", ["../../../outside", "/outside", "releases/../../../outside"])
def test_a_folder_of_secrets_leads_nowhere_else(desk: Desk, where: str) -> None:
    desk.edit("flowrun.yaml", "project: shop-to-erp", f"project: shop-to-erp\nsecrets: {where}", commit=LATER)
    before = set(desk.target.parent.rglob("outside"))
    assert desk.apply(desk.built()).code == 0
    assert set(desk.target.parent.rglob("outside")) == before


def test_one_at_a_time_and_in_a_folder_of_its_own(desk: Desk, tmp_path: Path) -> None:
    bundle = desk.built()
    with Place(desk.target).held():
        assert "another promotion is at" in desk.apply(bundle).err
    (desk.target / "current").mkdir()
    assert "is no link that flowrun made" in desk.apply(bundle).err


def audit(place: Path | str) -> list[tuple[str, str]]:
    url = postgres_url(place) if isinstance(place, str) else f"sqlite:///{place}"
    engine = create_engine(url)
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(text("SELECT action, detail FROM audit ORDER BY at, detail"))]
    engine.dispose()
    return found


def test_it_is_audited(desk: Desk, store_place: Path | str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWRUN_STORE", str(store_place))
    keys = desk.wants_approval("anna", commit=LATER)
    bundle = desk.built()
    desk("promote", "approve", bundle, "--by", "anna", "--key", keys["anna"])
    assert desk.apply(bundle).code == 0
    digest = read_bundle(bundle).digest
    said = audit(store_place)
    assert [action for action, _ in said] == ["promote apply"] * 2
    assert digest in said[0][1] and "approved by anna" in said[0][1] and said[0][1].startswith("begun: ")
    assert said[1][1] == f"ended: {digest[:12]} is in force instead of nothing"


def test_without_its_store_nothing_changes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.apply(desk.built())
    desk.edit(FLOW, "order.total_amount > 1000", "order.total_amount > 1000.001", commit=LATER)
    newer = desk.built("newer.bundle")
    monkeypatch.setenv("FLOWRUN_STORE", "postgresql://127.0.0.1:1/nothing")
    assert desk.apply(newer).code == 4
    assert "> 1000\n" in in_force(desk)


STEPS: tuple[tuple[Any, str], ...] = (
    (os, "fsync"), (os, "mkdir"), (os, "rename"), (os, "replace"), (os, "symlink"), (os, "unlink"), (os, "rmdir"),
)  # fmt: skip


def test_killed_at_any_step_the_old_or_the_new_is_in_force(desk: Desk) -> None:
    """Each step of the system that could be the last one, in a process that ends there."""
    yaml = b"flowrun: 1\nsecrets: conf/secret\nenvironments: { prod: }\n"
    old = small({"flowrun.yaml": yaml, "flows/a.yaml": b"a", "lookups/b.csv": b"old"})
    new = small({"flowrun.yaml": yaml, "flows/a.yaml": b"a", "flows/c.yaml": b"c", "lookups/b.csv": b"new"})
    seen = set()
    for first in (None, old):
        for last in range(10_000):
            shutil.rmtree(desk.target)
            place = Place(desk.target)
            if first is not None:
                with place.held():
                    place.switch(place.put(first, ()).name)
            killed = dies_at(last, lambda place=place: _promote(place, new))  # type: ignore[misc]
            now = place.current() if desk.target.exists() else None
            found = now.manifest if now is not None else None
            assert found in (first.manifest if first else None, new.manifest)
            if now is not None:
                assert place.edited() == []
                assert {
                    name: sha256((place.releases / now.name / name).read_bytes()) for name in now.manifest.files
                } == now.manifest.files
            seen.add((first is not None, found == new.manifest))
            _promote(place, new)  # and whoever comes next brings it to its end
            after = place.current()
            assert after is not None and after.manifest == new.manifest and place.edited() == []
            if not killed:
                break
        assert last > 20, "the steps are counted"
    assert seen == {(False, False), (False, True), (True, False), (True, True)}


def _promote(place: Place, bundle: Any) -> None:
    with place.held():
        place.switch(place.put(bundle, ()).name)


def dies_at(last: int, do: Callable[[], None]) -> bool:
    """Do it in a child process that ends before its step of that number. Whether it came so far."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    left = last

    def counted(real: Any) -> Any:
        def step(*args: Any, **more: Any) -> Any:
            nonlocal left
            if not left:
                os._exit(9)
            left -= 1
            return real(*args, **more)

        return step

    try:
        for module, name in STEPS:
            setattr(module, name, counted(getattr(module, name)))
        do()
        os._exit(0)
    finally:
        os._exit(1)
