"""Secrets by name: the places where one is looked for, and what is said when it is not there or not safe there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import keyring
import keyring.backend
import keyring.errors
import pytest
from frontkit import PROJECT, write_project

from flowrun.errors import ProjectError
from flowrun.project import load_project

NAME = "xcart_api_key"


class Memory(keyring.backend.KeyringBackend):
    """A keyring that forgets."""

    priority: ClassVar[float] = 1
    held: ClassVar[dict[tuple[str, str], str]] = {}
    broken: ClassVar[Exception | None] = None

    def get_password(self, service: str, username: str) -> str | None:
        if self.broken is not None:
            raise self.broken
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.held[service, username] = password


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Memory]:
    before = keyring.get_keyring()
    monkeypatch.setattr(Memory, "held", {})
    found = Memory()
    keyring.set_keyring(found)
    yield found
    keyring.set_keyring(before)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    text = PROJECT.replace("project: shop-to-erp", "project: shop-to-erp\nsecrets: .secrets")
    return write_project(tmp_path / "shop", {"flowrun.yaml": text})


def secret(root: Path, **environ: str) -> str:
    project = load_project(root)
    found = project.resolve(project.connections["xcart"].settings["api_key"], environ)
    assert found.reveal() not in repr(found)
    text: str = found.reveal()
    return text


def refused(root: Path, **environ: str) -> tuple[str, str]:
    with pytest.raises(ProjectError) as caught:
        secret(root, **environ)
    assert caught.value.message.startswith("flowrun.yaml:13:14: ")
    return caught.value.message.removeprefix("flowrun.yaml:13:14: "), caught.value.help


def keep(root: Path, data: bytes, mode: int = 0o600) -> Path:
    path = root / ".secrets" / NAME
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_the_keyring_comes_last(root: Path) -> None:
    keyring.set_password("flowrun", NAME, "from the keyring")
    assert secret(root) == "from the keyring"
    keep(root, b"from a file")
    assert secret(root) == "from a file"
    assert secret(root, XCART_API_KEY="plain") == "plain"


def test_nowhere_says_every_place_to_put_it(root: Path) -> None:
    assert refused(root) == (
        f"the secret '{NAME}' is not set",
        "export FLOWRUN_SECRET_XCART_API_KEY=…, or write it to .secrets/xcart_api_key, or keyring set flowrun xcart_api_key",
    )


def test_without_the_extra_its_installation_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    _, help = refused(root)
    assert help.endswith(
        "keep it in the system's keyring: pip install 'flowrun[keyring]', keyring set flowrun xcart_api_key"
    )


def test_a_machine_without_a_keyring_says_nothing_of_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Memory, "broken", keyring.errors.NoKeyringError("none"))
    assert "keyring" not in refused(root)[1]


def test_a_locked_keyring_is_not_taken_for_an_empty_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Memory, "broken", keyring.errors.KeyringLocked("canary-3a7"))
    message, help = refused(root)
    assert message == f"the keyring does not give the secret '{NAME}': KeyringLocked"
    assert "canary" not in message + help


@pytest.mark.parametrize("data", [b"s3cret", b"s3cret\n", b"s3cret\r\n", b"\xef\xbb\xbfs3cret\n"])
def test_a_line_end_is_no_part_of_it(root: Path, data: bytes) -> None:
    keep(root, data)
    assert secret(root) == "s3cret"


def test_lines_inside_stay(root: Path) -> None:
    keep(root, b" -----BEGIN\nabc\n-----END\n")
    assert secret(root) == " -----BEGIN\nabc\n-----END"


@pytest.mark.parametrize("data", [b"", b"\n", b"  \n"])
def test_an_empty_one_is_said(root: Path, data: bytes) -> None:
    path = keep(root, data)
    assert refused(root) == (f"the secret '{NAME}' is empty", f"{path} holds nothing")
    assert refused(root, XCART_API_KEY="")[1] == "the variable XCART_API_KEY holds nothing"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_in_the_project_a_file_is_its_owners_alone(root: Path, mode: int) -> None:
    path = keep(root, b"canary-3a7", mode)
    assert refused(root) == (f"others on this machine may read the secret '{NAME}'", f"chmod 600 {path}")


def test_a_mounted_folder_may_be_read_but_not_changed(root: Path) -> None:
    mounted = root.parent / "run-secrets"
    (root / "flowrun.yaml").write_text((root / "flowrun.yaml").read_text().replace(".secrets", str(mounted)))
    mounted.mkdir()
    (mounted / NAME).write_text("mounted\n")
    (mounted / NAME).chmod(0o444)
    assert secret(root) == "mounted"
    (mounted / NAME).chmod(0o666)
    assert refused(root)[0] == f"others on this machine may change the secret '{NAME}'"


def test_what_cannot_be_read_is_said(root: Path) -> None:
    path = keep(root, b"\xff\xfe")
    assert refused(root) == (f"the secret '{NAME}' is not UTF-8 text", f"look at {path}")
    path.unlink()
    path.mkdir()
    assert refused(root)[0] == f"the secret '{NAME}' cannot be read: Is a directory"
    if os.getuid():
        path.rmdir()
        keep(root, b"x", 0o000)
        assert refused(root)[0] == f"the secret '{NAME}' cannot be read: Permission denied"
