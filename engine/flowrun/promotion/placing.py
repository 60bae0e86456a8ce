"""Where bundles are applied: ``releases/NAME`` holds one each, the link ``current`` says which is in force.

A release is written beside and gets its name when all of it is on the disk; then the link is replaced, which is one
step. Killed at any moment, the old one or the new one is in force, whole. ``state/`` and the folder of secrets belong
to the place, and each release links to them.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec
from msgspec import Struct

from flowrun.errors import ProjectError
from flowrun.project import Project, load_project
from flowrun.promotion.bundle import Bundle, BundleRefused, Manifest, is_plain, sha256
from flowrun.promotion.refusing import bundled_project

RELEASES, CURRENT, STATE, SECRETS, LOCK = "releases", "current", "state", "secrets", ".promote.lock"
ABOUT = ".promoted.json"  # in a release: what it is


class About(Struct, frozen=True):
    """previous: the release that was in force before this one."""

    name: str
    manifest: Manifest
    approved_by: tuple[str, ...]
    previous: str | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """before, after: names of releases."""

    before: str | None
    after: str


class Place:
    """A folder that bundles are applied to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.releases = self.folder / RELEASES
        self._link = self.folder / CURRENT

    @contextmanager
    def held(self) -> Iterator[None]:
        """One at a time. Raises ProjectError when another promotion is at it, or the folder holds something else."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._link.exists() and not self._link.is_symlink():
            raise ProjectError(f"{self._link} is no link that flowrun made", help="apply to a folder of its own")
        with (self.folder / LOCK).open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ProjectError(f"another promotion is at {self.folder} just now") from None
            yield

    def current(self) -> About | None:
        """What is in force; None where nothing is yet. Raises ProjectError when it cannot be read."""
        if not self._link.is_symlink():
            return None
        return self._about(self._link.readlink().name)

    def project(self) -> Project | None:
        """What is in force, as a project. The link's target, so that a change meanwhile mixes nothing."""
        now = self.current()
        return load_project(self.releases / now.name) if now is not None else None

    def edited(self) -> list[str]:
        """Files of what is in force that are not as they were applied: changed, taken away or added, by name."""
        now = self.current()
        if now is None:
            return []
        root = self.releases / now.name
        there = {
            path.relative_to(root).as_posix(): sha256(path.read_bytes())
            for path in root.rglob("*")
            if path.is_file() and not path.is_symlink() and not path.relative_to(root).parts[0].startswith(".")
        }
        return sorted({name for name, _ in there.items() ^ now.manifest.files.items()})

    def put(self, bundle: Bundle, approved_by: tuple[str, ...]) -> Path:
        """Write the release beside what is in force, and give its folder. Nothing of it is in force yet."""
        now = self.current()
        again = now is not None and now.name == bundle.name  # in force, and edited by hand since
        release = f"{bundle.name}-again" if again else bundle.name
        aside = self.releases / f".{release}.part"
        shutil.rmtree(aside, ignore_errors=True)
        (self.folder / STATE).mkdir(exist_ok=True)
        (self.folder / STATE).chmod(0o700)
        aside.mkdir(parents=True)
        for name, content in bundle.files.items():
            _write(aside / name, content)
        about = About(release, bundle.manifest, approved_by, now.name if now is not None else None)
        _write(aside / ABOUT, msgspec.json.format(msgspec.json.encode(about), indent=1))
        (aside / ".flowrun").symlink_to(f"../../{STATE}")
        self._share_secrets(aside, bundled_project(bundle).secrets_dir or "")
        for folder in sorted({path.parent for path in aside.rglob("*")} | {aside}, key=str, reverse=True):
            _sync(folder)
        root = self.releases / release
        if root.exists():
            shutil.rmtree(root)  # not in force: of an earlier time, or edited by hand since
        aside.rename(root)
        _sync(self.releases)
        return root

    def switch(self, name: str) -> Placed:
        """Put a release in force, in one step."""
        now = self.current()
        new = self.folder / f".{CURRENT}.part"
        new.unlink(missing_ok=True)
        new.symlink_to(f"{RELEASES}/{name}")
        new.replace(self._link)
        _sync(self.folder)
        return Placed(now.name if now is not None else None, name)

    def previous(self) -> About:
        """What was in force before. Raises BundleRefused when there is nothing to go back to."""
        now = self.current()
        if now is None or now.previous is None:
            raise BundleRefused("there is nothing to go back to")
        return self._about(now.previous)

    def _share_secrets(self, release: Path, name: str) -> None:
        """The place's own folder ``secrets``, seen from the release where flowrun.yaml says that it is."""
        path = PurePosixPath(name).as_posix()
        if not name or not is_plain(path) or (release / path).exists():
            return
        shared = self.folder / SECRETS
        shared.mkdir(mode=0o700, exist_ok=True)
        (release / path).parent.mkdir(parents=True, exist_ok=True)
        (release / path).symlink_to("../" * (path.count("/") + 2) + SECRETS)

    def _about(self, name: str) -> About:
        path = self.releases / name / ABOUT
        try:
            return msgspec.json.decode(path.read_bytes(), type=About)
        except (OSError, msgspec.DecodeError):
            raise ProjectError(
                f"{path} cannot be read, so what is in force is not known", help="point the link 'current' at a release"
            ) from None


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


def _sync(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
