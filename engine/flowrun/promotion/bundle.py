"""A bundle: one zip file with a project as it is to be, and what is known of it.

There is one way to write what it holds. A file is read only when writing what was found in it gives the same bytes
again, so nothing of it can be changed, added or hidden without being seen.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
from msgspec import Struct, field

from flowrun.errors import FlowrunError, ProjectError

FORM = 1  # of the manifest; raise it when an older flowrun must refuse a bundle
MOST_BYTES = 256 << 20
MOST_FILES = 20_000
MANIFEST, DIGEST, FILES, APPROVALS = "manifest.json", "manifest.sha256", "project/", "approvals/"
APPROVER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RIGHTS = 0o100644 << 16
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip file can name
_BROKEN = (
    zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, KeyError, IndexError, OverflowError, struct.error,
    RuntimeError, OSError,
)  # fmt: skip
"""What ``zipfile`` raises over bytes that are no zip file."""


class BundleRefused(FlowrunError):
    """The bundle is not what it was made, or not what this place takes (exit code 3)."""


class Git(Struct, frozen=True):
    """clean: nothing of the project differs from the commit."""

    commit: str
    clean: bool


class Tried(Struct, frozen=True):
    """failures: ``flow: test``."""

    passed: int
    failed: int
    failures: tuple[str, ...] = ()


class Manifest(Struct, frozen=True):
    """files: path → SHA-256. flows: name → what decides its outcomes, as ``Flow.hash``. converters: name → the
    distribution and version that bring it. replayed: per flow, what differed in the records replayed; None when
    nothing was compared. environments: what differs from the one to the other. made_at: the commit's time where the
    project is that commit, in ISO 8601."""

    bundle: int
    project: str
    source: str
    target: str
    made_at: str
    made_by: str
    flowrun: str
    git: Git | None
    files: dict[str, str]
    flows: dict[str, str]
    converters: dict[str, str]
    lints: int
    tests: Tried
    against: str | None = None
    replayed: dict[str, dict[str, Any]] | None = None
    environments: list[dict[str, Any]] = field(default_factory=list)


class Approval(Struct, frozen=True, forbid_unknown_fields=True):
    """key: the public key; signature: over the bundle's digest, the name and the time; both in base64."""

    by: str
    at: str
    key: str
    signature: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """digest: SHA-256 of the manifest, which names the bundle. files: path in the project → content."""

    raw: bytes
    manifest: Manifest
    files: Mapping[str, bytes]
    approvals: tuple[Approval, ...] = ()

    @property
    def digest(self) -> str:
        return sha256(self.raw)

    @property
    def name(self) -> str:
        return self.digest[:12]

    def packed(self) -> bytes:
        """The file's bytes; the same bundle always gives the same."""
        entries = {MANIFEST: self.raw, DIGEST: f"{self.digest}\n".encode()}
        for one in sorted(self.approvals, key=lambda approval: approval.by):
            entries[f"{APPROVALS}{one.by}.json"] = encoded(one)
        entries.update((FILES + name, self.files[name]) for name in sorted(self.files))
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            for name, content in entries.items():
                info = zipfile.ZipInfo(name, _EPOCH)
                info.create_system, info.external_attr = 3, _RIGHTS
                archive.writestr(info, content)
        return out.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def encoded(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=1) + b"\n"


def new_bundle(manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
    """Raises ProjectError for what no bundle can hold."""
    if len(files) > MOST_FILES or sum(map(len, files.values())) > MOST_BYTES - (64 << 20):
        raise ProjectError(f"the project is too large for a bundle: {len(files)} files")
    for name in files:
        if not is_plain(name):
            raise ProjectError(f"'{name}' has a name that not every system can hold", help="rename it")
    return Bundle(encoded(manifest), manifest, files)


def read_bundle(path: Path) -> Bundle:
    """Raises BundleRefused for anything that flowrun did not write as it stands, ProjectError for a file that is not
    there."""
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= MOST_BYTES else b""
    except OSError as error:
        raise ProjectError(f"{path}: {error.strerror}") from None
    if size > MOST_BYTES:
        raise BundleRefused(f"{path} is larger than any bundle")
    return parse_bundle(data)


def parse_bundle(data: bytes) -> Bundle:
    entries = _entries(data)
    raw = entries.pop(MANIFEST, b"")
    if entries.pop(DIGEST, b"") != f"{sha256(raw)}\n".encode():
        raise BundleRefused("the bundle was changed: its manifest is not the one it was made with")
    manifest = _decoded(raw, Manifest, "manifest")
    if manifest.bundle != FORM:
        raise BundleRefused(f"the bundle has form {manifest.bundle}, this flowrun reads {FORM}", help="upgrade flowrun")
    approvals, files = [], {}
    for name, content in entries.items():
        if name.startswith(APPROVALS):
            approvals.append(_decoded(content, Approval, name))
        elif name.startswith(FILES):
            files[name.removeprefix(FILES)] = content
        else:
            raise BundleRefused(f"the bundle holds '{name}', which belongs to no bundle")
    for name in sorted(files.keys() | manifest.files.keys()):
        if name not in files or sha256(files[name]) != manifest.files.get(name):
            raise BundleRefused(f"the bundle was changed: {name} is not the file it was made with")
    bundle = Bundle(raw, manifest, files, tuple(sorted(approvals, key=lambda one: one.by)))
    if any(not APPROVER.fullmatch(one.by) for one in approvals) or bundle.packed() != data:
        raise BundleRefused("the bundle was changed: it holds more than it was made with")
    return bundle


def is_plain(name: str) -> bool:
    """A path that means the same file, inside the project, on every system."""
    parts = PurePosixPath(name).parts
    return (
        bool(parts)
        and "/".join(parts) == name
        and not name.startswith("/")
        and len(name) <= 1000
        and all(part.isprintable() and not part.endswith((" ", ".")) for part in parts)
        and not any(char in name for char in '\\:*?"<>|')
    )


def _entries(data: bytes) -> dict[str, bytes]:
    """Name → content. Nothing is taken apart that could be larger than the file itself."""
    found: dict[str, bytes] = {}
    seen: set[str] = set()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            if len(infos) > MOST_FILES + 100 or sum(info.file_size for info in infos) > len(data):
                raise BundleRefused("the bundle says that it holds more than it can")
            for info in infos:
                if not is_plain(info.filename) or info.external_attr != _RIGHTS:
                    raise BundleRefused(f"the bundle holds {info.filename!r}, which is no plain file of a project")
                if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                    raise BundleRefused(f"the bundle holds {info.filename!r} compressed, as none that flowrun made")
                if info.filename.casefold() in seen:
                    raise BundleRefused(f"the bundle holds {info.filename!r} twice")
                seen.add(info.filename.casefold())
                found[info.filename] = archive.read(info)
    except _BROKEN as error:
        raise BundleRefused(f"this is no bundle, or it was damaged: {type(error).__name__}") from None
    return found


def _decoded(data: bytes, kind: Any, what: str) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BundleRefused(f"the bundle's {what} cannot be read") from None
