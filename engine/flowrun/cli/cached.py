"""What validate found the last time, kept in ``.flowrun/cache`` for as long as nothing it looked at has changed.

The key covers the flow files, every other file that was read (flowrun.yaml, fragments, tables, contracts, samples), the
files that were looked for and not there, and the code of flowrun and of the connectors.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from flowrun import __version__
from flowrun.diagnostics import Diagnostic, Fix, Span
from flowrun.project import FILE, flow_files, shown

FOLDER = Path(".flowrun/cache")
FORM = 3  # of the file below; raise it when that changes
BESIDE = ("contracts", "samples")  # folders whose files count, whichever a flow names


@dataclass(frozen=True, slots=True)
class Findings:
    """files: what was checked; fragments: how many of them hold one. said: a line per flow, on how it is delivered.
    tables: files that lookups name."""

    files: tuple[str, ...]
    fragments: int
    diagnostics: tuple[Diagnostic, ...]
    said: tuple[str, ...]
    tables: tuple[str, ...]

    @property
    def errors(self) -> int:
        return sum(d.severity == "error" for d in self.diagnostics)


class Cache:
    """One file per set of paths that validate was called with."""

    def __init__(self, root: Path, paths: Sequence[Path]) -> None:
        self.root = root.resolve()
        self.wanted = [shown(self.root, path) for path in flow_files(self.root, paths)]
        self._whole = not paths
        name = "all" if self._whole else blake2b("\n".join(self.wanted).encode(), digest_size=8).hexdigest()
        self.path = self.root / FOLDER / f"validate-{name}.json"

    def load(self) -> Findings | None:
        """What was found, when all is as it was."""
        try:
            kept = json.loads(self.path.read_bytes())
            if kept["form"] != FORM or kept["key"] != self._key(kept["tables"]):
                return None
            diagnostics = tuple(_diagnostic(*one) for one in kept["diagnostics"])
            return Findings(
                tuple(self.wanted), kept["fragments"], diagnostics, tuple(kept["said"]), tuple(kept["tables"])
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, findings: Findings) -> None:
        """Keeps nothing, without a word, where the folder cannot be written."""
        body = {
            "form": FORM,
            "key": self._key(findings.tables),
            "diagnostics": [_plain(one) for one in findings.diagnostics],
            "fragments": findings.fragments,
            "said": findings.said,
            "tables": findings.tables,
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            aside = self.path.with_suffix(f".{os.getpid()}")
            aside.write_text(json.dumps(body), encoding="utf-8")
            aside.replace(self.path)
        except OSError:
            return

    def _key(self, tables: Iterable[str]) -> str:
        digest = blake2b(digest_size=20)
        digest.update(f"{__version__} {sys.version}".encode())
        for path in _code():
            digest.update(path.encode())
        everything = [shown(self.root, path) for path in flow_files(self.root)] if not self._whole else ()
        for name in dict.fromkeys((FILE, *self.wanted, *everything, *tables, *self._beside())):
            digest.update(b"\0" + name.encode() + b"\0")
            try:
                with open(self.root / name, "rb") as file:  # noqa: PTH123 - a third of the time of Path.read_bytes
                    digest.update(blake2b(file.read()).digest())
            except OSError:
                digest.update(b"absent")
        return digest.hexdigest()

    def _beside(self) -> Iterable[str]:
        for folder in BESIDE:
            base = self.root / folder
            if base.is_dir():
                yield from sorted(str(path.relative_to(self.root)) for path in base.rglob("*") if path.is_file())


def _code() -> Iterable[str]:
    """Path, size and time of every file of flowrun and of the packages that connectors come from."""
    from importlib.util import find_spec

    from flowrun.connector import installed

    places = [*installed().values(), *installed("flowrun.converters").values()]
    packages = {"flowrun", *(place.split(".")[0].split(":")[0] for place in places)}
    for package in sorted(packages):
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
            yield from sorted(_stamps(folder))
        if spec is not None and spec.origin:
            yield _stamp(spec.origin)


def _stamps(folder: str) -> Iterable[str]:
    for entry in os.scandir(folder):
        if entry.is_dir() and entry.name != "__pycache__":
            yield from _stamps(entry.path)
        elif entry.name.endswith((".py", ".json", ".csv")):
            yield _stamp(entry.path)


def _stamp(path: str) -> str:
    about = os.stat(path)  # noqa: PTH116 - once per file of the package
    return f"{path} {about.st_size} {about.st_mtime_ns}"


_SPAN = Span.__struct_fields__


def _plain_span(span: Span) -> list[Any]:
    return [getattr(span, name) for name in _SPAN]


def _plain(d: Diagnostic) -> list[Any]:
    related = [[words, _plain_span(span)] for words, span in d.related]
    fix = [d.fix.start, d.fix.end, d.fix.text] if d.fix is not None else None
    return [d.code, d.message, _plain_span(d.span), d.severity, d.label, d.help, list(d.notes), related, fix]


def _diagnostic(
    code: str, message: str, span: Any, severity: Any, label: str, help: str, notes: Any, related: Any, fix: Any
) -> Diagnostic:
    others = tuple((words, Span(*place)) for words, place in related)
    mend = Fix(*fix) if fix is not None else None
    return Diagnostic(code, message, Span(*span), severity, label, help, tuple(notes), others, mend)


def texts(root: Path, diagnostics: Iterable[Diagnostic]) -> Mapping[str, Any]:
    """The files that findings point into, to show the lines."""
    from flowrun.document import Document

    found = {}
    for name in dict.fromkeys(d.span.file for d in diagnostics):
        try:
            with (root / name).open(encoding="utf-8-sig", newline="") as file:
                found[name] = Document(name, file.read())
        except (OSError, UnicodeDecodeError):
            continue
    return found
