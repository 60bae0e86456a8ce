"""A project as it was at a git revision: its files are taken out of git into a folder of their own; nothing is checked
out, and the working tree is not looked at."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from flowrun.children import harmless
from flowrun.errors import ProjectError
from flowrun.project import FILE, find_root

KINDS = (".yaml", ".yml", ".csv", ".json", ".jsonl")
"""Endings of the files that decide what a flow does: flows, fragments, flowrun.yaml, tables, contracts, samples."""
MOST_BYTES = 50_000_000  # of one file; the largest table that a flow may name
LONGEST_SECS = 60


@contextmanager
def project_at(root: Path, revision: str) -> Iterator[Path]:
    """The folder of the project as it was; gone afterwards. Raises ProjectError when git does not know it."""
    root = root.resolve()
    if revision.startswith("-") or not revision.strip():
        raise ProjectError(f"'{revision}' is no git revision")
    prefix = _asked(root, "rev-parse", "--show-prefix").strip()
    try:
        commit = _asked(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").strip()
    except ProjectError:
        raise ProjectError(
            f"there is neither a file nor a git revision '{revision}'", help="--against HEAD~1, a tag, or a flow file"
        ) from None
    listed = _asked(root, "ls-tree", "-r", "-z", "-l", "--full-tree", commit, *([prefix] if prefix else []))
    files = [one for one in map(_entry, filter(None, listed.split("\0"))) if one is not None]
    with tempfile.TemporaryDirectory(prefix="flowrun-diff-") as folder:
        base = Path(folder).resolve()
        for (_, path), content in zip(files, _contents(root, [blob for blob, _ in files]), strict=True):
            to = base / path.removeprefix(prefix)
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(content)
        if not (base / FILE).is_file():
            raise ProjectError(f"at {revision} there was no {FILE} in this folder")
        yield find_root(base) or base


@dataclass(frozen=True, slots=True)
class Commit:
    """clean: nothing of what was asked about differs from it. at: when it was made, in ISO 8601 and UTC."""

    name: str
    clean: bool
    at: str


def commit_of(root: Path, paths: Sequence[str] = (".",)) -> Commit | None:
    """The commit that the folder stands at; None when it is kept in no git, or has none yet."""
    try:
        name, stamp = _asked(root, "log", "-1", "--format=%H %ct").split()
        clean = not _asked(root, "status", "--porcelain", "--", *paths).strip()
    except (ProjectError, ValueError):
        return None
    return Commit(name, clean, datetime.fromtimestamp(int(stamp), UTC).isoformat())


def _entry(line: str) -> tuple[str, str] | None:
    """``mode type blob size TAB path`` → (blob, path) of a file that matters; links and submodules are none."""
    facts, _, path = line.partition("\t")
    mode, _, blob, size = facts.split()
    parts = PurePosixPath(path)
    hidden = any(part.startswith(".") or part == ".." for part in parts.parts)
    if not mode.startswith("100") or hidden or parts.suffix not in KINDS or int(size) > MOST_BYTES:
        return None
    return blob, path


def _contents(root: Path, blobs: Sequence[str]) -> Iterator[bytes]:
    answer = _git(root, ("cat-file", "--batch"), "".join(f"{blob}\n" for blob in blobs).encode())
    at = 0
    for _ in blobs:
        end = answer.index(b"\n", at)
        size = int(answer[at:end].rsplit(b" ", 1)[1])
        yield answer[end + 1 : end + 1 + size]
        at = end + 1 + size + 1


def _asked(root: Path, *words: str) -> str:
    return _git(root, words).decode("utf-8", "replace")


def _git(root: Path, words: Sequence[str], given: bytes = b"") -> bytes:
    git = shutil.which("git")
    if git is None:
        raise ProjectError("git is not installed", help="--against a flow file works without it")
    try:
        done = subprocess.run(  # noqa: S603 - git, with words of ours and a revision that is no option
            [git, "-C", str(root), *words],
            input=given,
            env=harmless(),
            capture_output=True,
            timeout=LONGEST_SECS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ProjectError(f"git {words[0]} did not end within {LONGEST_SECS} s") from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ProjectError(f"git {words[0]}: {said[0] if said else 'failed'}", help="is this project kept in git?")
    return done.stdout
