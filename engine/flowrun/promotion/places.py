"""Where another version of a project may stand: a folder, a bundle, a place that bundles are applied to, a revision."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from flowrun.comparing import project_at
from flowrun.errors import ProjectError
from flowrun.project import FILE, Project, load_project
from flowrun.promotion.bundle import Bundle, read_bundle


def project_in(stack: ExitStack, project: Project, place: str) -> Project:
    """The project at the place; what is unpacked for it goes with the stack. Raises ProjectError, BundleRefused."""
    path = Path(place)
    if path.is_dir():
        root = path / "current" if (path / "current" / FILE).is_file() else path
        if not (root / FILE).is_file():
            raise ProjectError(f"there is no {FILE} in {path}")
        return load_project(root)
    if path.is_file():
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flowrun-bundle-"))).resolve()
        unpack(read_bundle(path), folder)
        return load_project(folder)
    return load_project(stack.enter_context(project_at(project.root, place)))


def unpack(bundle: Bundle, folder: Path) -> None:
    """folder: empty. Names are safe: ``bundle.is_plain``."""
    for name, content in bundle.files.items():
        to = folder / name
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(content)
