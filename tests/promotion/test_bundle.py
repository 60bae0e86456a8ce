"""A bundle is what it was made, to the byte, or it is refused."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowrun.project import Environment
from flowrun.promotion import BundleRefused, approve, approved_by, make_key
from flowrun.promotion.approving import check_signatures
from flowrun.promotion.bundle import Bundle, Git, Manifest, Tried, new_bundle, parse_bundle, sha256
from tests.promotion.conftest import Desk


def small(files: dict[str, bytes] | None = None) -> Bundle:
    held = (
        files if files is not None else {"flowrun.yaml": b"flowrun: 1\nenvironments: { prod: }\n", "flows/ä.yaml": b"x"}
    )
    hashes = {name: sha256(content) for name, content in held.items()}
    return new_bundle(
        Manifest(
            1, "p", "qa", "prod", "2026-05-04T10:00:00+00:00", "me", "0", Git("c", True), hashes, {}, {}, 0, Tried(1, 0)
        ),
        held,
    )


@pytest.fixture(scope="module")
def approved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    key = tmp_path_factory.mktemp("keys") / "anna"
    make_key(key)
    return approve(small(), "anna", key, "2026-05-04T11:00:00+00:00").packed()


def is_refused(data: bytes) -> bool:
    try:
        check_signatures(parse_bundle(data))
    except BundleRefused:
        return True
    return False


def test_what_was_written_is_read(approved: bytes) -> None:
    assert not is_refused(approved)
    found = parse_bundle(approved)
    assert found.files == small().files and found.packed() == approved
    assert [one.by for one in found.approvals] == ["anna"]


def test_each_byte_changed_is_refused(approved: bytes) -> None:
    passed = [
        n for n in range(len(approved)) if not is_refused(approved[:n] + bytes([approved[n] ^ 1]) + approved[n + 1 :])
    ]
    assert passed == []


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_whatever_is_done_to_the_bytes_it_is_refused(approved: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(approved) - 1))
    until = data.draw(st.integers(at, min(len(approved), at + 40)))
    new = data.draw(st.binary(max_size=40))
    changed = approved[:at] + new + approved[until:]
    assert changed == approved or is_refused(changed)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_refused_and_nothing_else(data: bytes) -> None:
    assert is_refused(data)


def archive(entries: list[tuple[zipfile.ZipInfo, bytes]]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for info, content in entries:
            made.writestr(info, content)
    return out.getvalue()


def entries_of(data: bytes) -> list[tuple[zipfile.ZipInfo, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as found:
        return [(info, found.read(info)) for info in found.infolist()]


@pytest.mark.parametrize(
    "name",
    ["project/../../etc/passwd", "/etc/passwd", "project/..", "project\\a", "project/c:a", "project/a/", "project/./a",
     "project//a", "project/a.", "project/a\x01", "elsewhere/a"],
)  # fmt: skip
def test_names_that_lead_elsewhere(approved: bytes, name: str) -> None:
    info = zipfile.ZipInfo("project/flows/x")
    info.create_system, info.external_attr = 3, 0o100644 << 16
    info.filename = name
    assert is_refused(archive([*entries_of(approved), (info, b"x")]))


def test_files_exchanged_added_or_taken_away(approved: bytes) -> None:
    """With the checksums of the archive in order."""
    held = entries_of(approved)
    exchanged = [(info, b"flowrun: 1\n" if info.filename == "project/flowrun.yaml" else data) for info, data in held]
    added = zipfile.ZipInfo("project/flows/more.yaml")
    added.create_system, added.external_attr = 3, 0o100644 << 16
    for entries in (exchanged, [*held, (added, b"")], held[:-1], held[1:], held[:1] + held[2:]):
        assert is_refused(archive(entries))
    assert not is_refused(archive(held))


def test_one_person_with_two_names_is_one(tmp_path: Path) -> None:
    key = tmp_path / "key"
    public = make_key(key)
    twice = approve(approve(small(), "anna", key, "2026-05-04T11:00:00Z"), "bert", key, "2026-05-04T11:00:00Z")
    policy = Environment("prod", approvals=2, approvers={"anna": public, "bert": public})
    assert approved_by(twice, policy) == ["anna"]


def test_links_copies_and_letter_case(approved: bytes) -> None:
    held = entries_of(approved)
    link = zipfile.ZipInfo("project/link")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with pytest.raises(BundleRefused, match="no plain file"):
        parse_bundle(archive([*held, (link, b"/etc/passwd")]))
    twice = zipfile.ZipInfo("project/FLOWRUN.yaml")
    twice.create_system, twice.external_attr = 3, 0o100644 << 16
    with pytest.raises(BundleRefused, match="twice"):
        parse_bundle(archive([*held, (twice, b"")]))


def test_a_bomb_is_not_unpacked() -> None:
    bomb = zipfile.ZipInfo("project/bomb")
    bomb.create_system, bomb.external_attr, bomb.compress_type = 3, 0o100644 << 16, zipfile.ZIP_DEFLATED
    with pytest.raises(BundleRefused, match="more than it can"):
        parse_bundle(archive([(bomb, bytes(100 << 20))]))


def test_a_manifest_that_was_made_anew_has_no_approval(approved: bytes) -> None:
    """Whoever can write a bundle can write any; whom it lacks is who approved it."""
    found = parse_bundle(approved)
    other = Bundle(
        small({"flowrun.yaml": b"flowrun: 1\n"}).raw, found.manifest, {"flowrun.yaml": b"flowrun: 1\n"}, found.approvals
    )
    assert parse_bundle(other.packed()).files == other.files
    with pytest.raises(BundleRefused, match="the approval of anna is not of this bundle"):
        check_signatures(parse_bundle(other.packed()))


def test_the_same_commit_gives_the_same_bundle(desk: Desk) -> None:
    one, other = desk.built("one.bundle"), desk.built("../other.bundle")
    assert one.read_bytes() == other.read_bytes()
    desk.edit("lookups/payment_methods.csv", "INV,", "INX,")
    changed = desk.built("three.bundle")
    assert changed.read_bytes() != one.read_bytes()
    assert "with changes that are not committed" in desk("promote", "verify", changed).out


def test_what_it_holds_and_says(desk: Desk) -> None:
    (desk.root / "flows/.hidden.yaml").write_text("x")
    (desk.root / "notes.txt").write_text("not of the project")
    desk.commit("2026-05-04T10:00:00Z")
    bundle = desk.built()
    names = zipfile.ZipFile(bundle).namelist()
    assert names[:2] == ["manifest.json", "manifest.sha256"]
    assert "project/flowrun.yaml" in names and "project/lookups/countries.csv" in names
    assert not any("hidden" in name or "notes" in name or ".flowrun" in name for name in names)
    said = desk("promote", "verify", bundle).out
    for words in (
        "from qa to prod",
        "24 passed, 0 failed",
        "value sales_org: 1710 → 1010",
        "replay: none",
        "whole; approved by nobody",
    ):
        assert words in said
    manifest = json.loads(zipfile.ZipFile(bundle).read("manifest.json"))
    assert manifest["made_at"] == "2026-05-04T10:00:00+00:00" and manifest["git"]["clean"] is True
    assert set(manifest["flows"]) == {"s4-deliveries-to-xcart", "s4-stock-to-xcart", "xcart-orders-to-s4"}


def test_no_secret_and_no_record_stand_in_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWRUN_SECRET_S4_CLIENT_ID", "canary-7731")
    assert desk("run", "xcart-orders-to-s4", "--env", "dev").code == 0
    desk.edit("flows/xcart-s4hana/orders-to-s4.yaml", "order.total_amount > 1000", "order.total_amount > 1")
    ended = desk("promote", "build", "--env", "dev", "--to", "prod", "-o", "out.bundle", "--against", "HEAD")
    assert ended.code == 1, ended.err  # a test notices, too
    assert re.search(r"replay of xcart-orders-to-s4 against HEAD: [1-3] of 3 differ", ended.out), ended.out
    assert re.search(r"SalesOrderType: [1-3] records, rule: big_order   \(flows/.*:23\)", ended.out), ended.out
    data = (desk.root / "out.bundle").read_bytes()
    assert b"canary-7731" not in data
    manifest = json.loads(zipfile.ZipFile(desk.root / "out.bundle").read("manifest.json"))
    assert set(manifest["replayed"]["xcart-orders-to-s4"]) == {"records", "differing", "causes"}
    assert all(
        set(one) == {"field", "records", "cause", "place"}
        for one in manifest["replayed"]["xcart-orders-to-s4"]["causes"]
    )


def test_a_link_out_of_the_project_is_not_followed(desk: Desk) -> None:
    (desk.root / "lookups/passwd.csv").symlink_to("/etc/passwd")
    ended = desk("promote", "build", "--env", "qa", "--to", "prod", "-o", "out.bundle")
    assert ended.code == 2 and "lookups/passwd.csv is a link" in ended.err
    assert not (desk.root / "out.bundle").exists()


def test_a_project_with_mistakes_gives_no_bundle(desk: Desk) -> None:
    desk.edit("flows/xcart-s4hana/orders-to-s4.yaml", "order.total_amount > 1000", "ordr.total_amount > 1000")
    ended = desk("promote", "build", "--env", "qa", "--to", "prod", "-o", "out.bundle")
    assert ended.code == 1 and "FR104" in ended.err
    assert not (desk.root / "out.bundle").exists()


def test_keys_are_their_owners_alone(desk: Desk, tmp_path: Path) -> None:
    key = desk.approver()
    assert os.stat(key).st_mode & 0o777 == 0o600
    assert desk("promote", "key", key).out == desk("promote", "key", key).out
    key.chmod(0o644)
    ended = desk("promote", "approve", desk.built(), "--by", "anna", "--key", key)
    assert ended.code == 2 and "others may read the key" in ended.err
    key.chmod(0o600)
    key.write_text("-----BEGIN")
    assert "is no Ed25519 key" in desk("promote", "approve", "out.bundle", "--by", "anna", "--key", key).err
    assert "cannot be the name" in desk("promote", "approve", "out.bundle", "--by", "../a", "--key", key).err
