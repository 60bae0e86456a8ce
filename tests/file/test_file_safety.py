"""Nothing outside the folder is read or written: names, links, devices, and a link put in at the wrong moment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.file.filekit import connect, create, put, rows

from flowrun.connector import Query
from flowrun.errors import ConnectorError, Refused
from flowrun_connectors.file import folder

BAD_NAMES = [
    "../secret.csv", "in/../../secret.csv", "/etc/passwd.csv", "in//a.csv", "", ".", "..", "./a.csv", "in/./a.csv",
    "a.csv\0", "a\n.csv", "a\x1b.csv", "..\\secret.csv", "in\\a.csv", "x" * 300 + ".csv", "ä" * 200 + ".csv",
    "CON.csv", "in/nul.csv", "com1.csv", "LPT9", ".env.csv", ".flowrun/state.csv", "in/.git/a.csv", "a\u202e.csv",
]  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    put(tmp_path, "secret.csv", "id\nsecret\n")
    (tmp_path / "root" / "in").mkdir(parents=True)
    return tmp_path / "root"


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_lead_elsewhere_are_refused(root: Path, name: str) -> None:
    files = connect(root)
    for call in (
        lambda: rows(files, name),
        lambda: files.find(name, {"id": "1"}),
        lambda: files.pull_contract(name),
        lambda: _delivered(files, name),
        lambda: rows(files, f"{name}/*"),
    ):
        with pytest.raises((Refused, ConnectorError)) as told:
            call()
        assert isinstance(told.value, Refused), told.value
    assert sorted(p.name for p in root.parent.iterdir()) == ["root", "secret.csv"]
    assert [p.name for p in root.rglob("*")] == ["in"]


def _delivered(files: Any, name: str) -> None:
    for action in ("create", "upsert"):
        (verdict,) = files.deliver([create(name, {"id": "1"}, action, ("id",))])
        assert type(verdict) is Refused, verdict
    raise verdict


def test_values_never_become_names(root: Path) -> None:
    files = connect(root)
    body = {"id": "../../etc/x", "name": "a/b\0", "more": "'; rm -rf /"}
    (verdict,) = files.deliver([create("out.jsonl", body)])
    assert not isinstance(verdict, Exception)
    assert rows(files, "out.jsonl") == [body]
    assert sorted(p.name for p in root.iterdir()) == ["in", "out.jsonl"]


def test_links_are_not_followed(root: Path) -> None:
    (root / "link.csv").symlink_to(root.parent / "secret.csv")
    (root / "out").symlink_to(root.parent)
    (root / "in" / "inner.csv").symlink_to(root / "link.csv")
    files = connect(root)
    for name in ("link.csv", "out/secret.csv", "in/inner.csv"):
        with pytest.raises(Refused, match="leads over a link"):
            rows(files, name)
        with pytest.raises(Refused, match="leads over a link"):
            files.find(name, {"id": "secret"})
        (verdict,) = files.deliver([create(name, {"id": "written"})])
        assert isinstance(verdict, Refused), verdict
    with pytest.raises(Refused):
        rows(files, "*.csv")
    assert rows(files, "**/secret.csv") == [], "a linked folder is not gone into"
    assert (root.parent / "secret.csv").read_text() == "id\nsecret\n"


def test_an_upsert_replaces_a_link_neither_by_reading_nor_by_writing_through_it(root: Path) -> None:
    (root / "link.csv").symlink_to(root.parent / "secret.csv")
    (verdict,) = connect(root).deliver([create("link.csv", {"id": "x"}, "upsert", ("id",))])
    assert isinstance(verdict, Refused)
    assert (root.parent / "secret.csv").read_text() == "id\nsecret\n"


@pytest.mark.parametrize("hidden", [".a.csv.flowrun", ".a.csv.new"])
def test_links_in_place_of_our_own_files_are_not_written_through(root: Path, hidden: str) -> None:
    (root / hidden).symlink_to(root.parent / "secret.csv")
    for action in ("create", "upsert"):
        connect(root).deliver([create("a.csv", {"id": "x"}, action, ("id",))])
    assert (root.parent / "secret.csv").read_text() == "id\nsecret\n"


def test_pipes_and_folders_are_no_files_and_nothing_hangs(root: Path) -> None:
    os.mkfifo(root / "pipe.csv")
    (root / "folder.csv").mkdir()
    files = connect(root)
    for name in ("pipe.csv", "folder.csv"):
        with pytest.raises(ConnectorError):
            rows(files, name)
        (verdict,) = files.deliver([create(name, {"id": "1"})])
        assert isinstance(verdict, ConnectorError)


def test_a_link_swapped_in_between_look_and_open(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The race itself: listed as a folder or a file, a link when it is opened."""
    put(root, "in/a.csv", "id\n1\n")
    real = folder.Folder.open

    def swapped(self: Any, name: str) -> int:
        (root / "in" / "a.csv").unlink(missing_ok=True)
        (root / "in").rmdir()
        (root / "in").symlink_to(root.parent)
        put(root.parent, "a.csv", "id\nsecret\n")
        return real(self, name)

    monkeypatch.setattr(folder.Folder, "open", swapped)
    seen = []
    with pytest.raises(Refused, match="leads over a link, 'in'"):
        for page in connect(root).read(Query("in/*.csv", None, "modified")):
            seen.append(page)
    assert not seen


def test_the_folder_itself_may_be_a_link(root: Path) -> None:
    put(root, "a.csv", "id\n1\n")
    (root.parent / "alias").symlink_to(root)
    assert rows(connect(root.parent, root="alias"), "a.csv") == [{"id": "1"}]


def test_a_tree_without_end_is_told(root: Path) -> None:
    deep = root
    for _ in range(25):
        deep = deep / "x"
    put(deep, "a.csv", "id\n1\n")
    with pytest.raises(Refused, match="more than 20 folders deep"):
        rows(connect(root), "**/*.csv")


def test_a_name_that_is_no_text_is_told_and_keeps_no_other_from_being_read(root: Path) -> None:
    put(root, "good.csv", "id\n1\n")
    for name in (b"\xff.csv", b"a\n.csv", b"back\\slash.csv"):
        (root / os.fsdecode(name)).write_bytes(b"id\n9\n")
    found: list[Any] = []
    with pytest.raises(Refused, match="is no path inside the connection's folder"):
        for page in connect(root).read(Query("*.csv", None, "modified")):
            found += page.records
    assert found == [{"id": "1"}]
