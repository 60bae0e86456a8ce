"""The shipped flows and lookups: beside this module in an installed flowrun, at the top of a checkout."""

from __future__ import annotations

from pathlib import Path

from flowrun.errors import ProjectError

FOLDERS = ("flows", "lookups")


def templates_root() -> Path:
    """The folder that holds flowrun.yaml, flows/ and lookups/. Raises ProjectError when the installation is broken."""
    here = Path(__file__).resolve().parent
    for root in (here / "templates", here.parent.parent):
        if (root / "flowrun.yaml").is_file() and (root / "flows").is_dir():
            return root
    raise ProjectError("the shipped flows are missing from this installation", help="install flowrun again")


def copy_templates(to: Path) -> list[str]:
    """Copy every shipped file that is not there yet; returns what was written, relative to ``to``."""
    root = templates_root()
    written = []
    sources = [root / "flowrun.yaml"]
    for folder in FOLDERS:
        sources += sorted(p for p in (root / folder).rglob("*") if p.is_file())
    for source in sources:
        target = to / source.relative_to(root)
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
        written.append(str(target.relative_to(to)))
    return written
