"""One folder, and nothing outside it: names are walked part by part, and no link is ever followed."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path

from flowrun.errors import NotFound, Refused, Unavailable

MOST_NAME = 255  # bytes of one part of a path
MOST_LEVELS = 20  # folders below each other that ``**`` goes down
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # not blocking: opening a pipe would wait for its other end
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Found:
    """name: below the folder, with slashes. state: size, time of change of content and of the entry (ns)."""

    name: str
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, name: str, at: os.stat_result) -> Found:
        return cls(name, at.st_size, at.st_mtime_ns, at.st_ctime_ns)


def is_pattern(name: str) -> bool:
    return any(c in name for c in "*?[")


def parts_of(name: str) -> tuple[str, ...]:
    """The parts of a path. Raises Refused for one that could lead elsewhere, or that some system cannot hold."""
    parts = tuple(name.split("/"))
    for part in parts:
        why = ""
        if not part or part in (".", ".."):
            why = "a part is empty, '.' or '..'"
        elif part.startswith("."):
            why = "hidden files are not touched"
        elif not part.isprintable() or "\\" in part:
            why = "it holds a control character or a backslash"
        elif len(part.encode("utf-8", "replace")) > MOST_NAME:
            why = f"a part is longer than {MOST_NAME} bytes"
        elif _DEVICE.fullmatch(part):
            why = f"'{part}' is the name of a device"
        if why:
            raise Refused(f"{name[:80]!r} is no path inside the connection's folder: {why}")
    return parts


class Folder:
    """shown: how messages name it."""

    def __init__(self, path: Path, shown: str) -> None:
        self.path = path
        self.shown = shown

    @contextmanager
    def root(self) -> Iterator[int]:
        """The folder itself, which the administrator named and which may be a link."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise Unavailable(f"the folder {self.shown} cannot be opened: {error.strerror}") from None
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def parent(self, name: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """The folder that holds ``name``, and the last part. Raises Refused, NotFound, Unavailable."""
        *above, last = parts_of(name)
        with self.root() as root:
            fd = os.dup(root)
            try:
                for part in above:
                    if make:
                        _make(part, fd)
                    below = _open(part, _FOLDER, fd, name)
                    os.close(fd)
                    fd = below
                yield fd, last
            finally:
                os.close(fd)

    def open(self, name: str) -> int:
        """A plain file, to read. Raises NotFound, Refused for a link, a device or a pipe, Unavailable."""
        with self.parent(name) as (fd, last):
            return plain(_open(last, os.O_RDONLY | _FILE, fd, name), name)

    def state(self, name: str) -> Found | None:
        """None when there is no such file."""
        try:
            with self.parent(name) as (fd, last):
                return Found.of(name, os.stat(last, dir_fd=fd, follow_symlinks=False))
        except (NotFound, FileNotFoundError):
            return None

    def holds_beside(self, name: str, hidden: str) -> bool:
        """Does a hidden file of this name stand in the folder of ``name``?"""
        try:
            with self.parent(name) as (fd, _):
                os.stat(hidden, dir_fd=fd, follow_symlinks=False)
        except (NotFound, FileNotFoundError):
            return False
        return True

    def matching(self, pattern: str) -> list[Found]:
        """Files, oldest change first, then by name, and links, which cannot be opened. Hidden ones never match."""
        with self.root() as root:
            found = {one.name: one for one in _walk(root, "", parts_of(pattern), 0)}
        return sorted(found.values(), key=lambda one: (one.mtime_ns, one.name))


def plain(fd: int, name: str) -> int:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Refused(f"{name} is no plain file")
    return fd


def open_to_write(last: str, parent: int, name: str) -> int:
    """To read and append; made when it is not there. Raises Refused, Unavailable."""
    return plain(_open(last, os.O_RDWR | os.O_APPEND | os.O_CREAT | _FILE, parent, name), name)


def _open(part: str, flags: int, parent: int, name: str) -> int:
    try:
        return os.open(part, flags, 0o640, dir_fd=parent)
    except FileNotFoundError:
        raise NotFound(f"there is no file '{name}'") from None
    except OSError as error:
        link = _is_link(part, parent)
        if link:
            raise Refused(f"{name} leads over a link, '{part}'; links are not followed") from None
        raise Unavailable(f"{name} cannot be opened: {error.strerror}") from None


def _is_link(part: str, parent: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(part, dir_fd=parent, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _make(part: str, parent: int) -> None:
    try:
        os.mkdir(part, 0o750, dir_fd=parent)
    except FileExistsError:
        return
    except OSError as error:
        raise Unavailable(f"the folder '{part}' cannot be made: {error.strerror}") from None
    os.fsync(parent)


def _walk(fd: int, prefix: str, parts: tuple[str, ...], level: int) -> Iterator[Found]:
    head, rest = parts[0], parts[1:]
    matches = re.compile(translate(head)).match
    if head == "**":
        if not rest:
            head, rest, matches = "*", (), re.compile(translate("*")).match
        else:
            yield from _walk(fd, prefix, rest, level)
    with os.scandir(fd) as entries:
        listed = sorted((entry.name, entry) for entry in entries if not entry.name.startswith("."))
    for name, entry in listed:
        deeper = parts if parts[0] == "**" else rest
        if entry.is_dir(follow_symlinks=False):
            if deeper and (parts[0] == "**" or matches(name)):
                if level >= MOST_LEVELS:
                    raise Refused(f"{prefix}{name} lies more than {MOST_LEVELS} folders deep", help="name the folder")
                try:
                    below = os.open(name, _FOLDER, dir_fd=fd)
                except OSError:
                    continue  # gone, or became a link, since it was listed
                try:
                    yield from _walk(below, f"{prefix}{name}/", deeper, level + 1)
                finally:
                    os.close(below)
        elif not rest and matches(name):
            try:
                yield Found.of(prefix + name, entry.stat(follow_symlinks=False))
            except FileNotFoundError:
                continue
