"""What most commands begin with: the project, a flow, its plan in an environment, where its state is."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from flowrun.connector import Registry, discover
from flowrun.errors import ProjectError
from flowrun.flow import load_flow, named_flow
from flowrun.flow.model import Flow
from flowrun.plan import Plan, compile_plan
from flowrun.project import Environment, Project, load_project

if TYPE_CHECKING:
    from flowrun.store import Store


def open_flow(name_or_path: str, env: str | None) -> tuple[Project, Registry, Flow, Plan]:
    """Raises InvalidFlow or ProjectError."""
    path = Path(name_or_path)
    project = load_project(path if path.exists() else Path.cwd())
    registry = discover()
    flow = load_flow(name_or_path, project, registry)
    return project, registry, flow, compile_plan(flow, project.environment(env).values)


def store_path(project: Project, environment: Environment) -> Path:
    """FLOWRUN_STORE, else the environment's ``store:``, else ``.flowrun/state-ENVIRONMENT.db`` in the project.

    One file an environment, so that what was tried in a sandbox is never taken for done in production.
    """
    chosen = os.environ.get("FLOWRUN_STORE") or (project.resolve(environment.store) if environment.store else "")
    if not chosen:
        return project.root / ".flowrun" / f"state-{environment.name}.db"
    chosen = str(chosen).removeprefix("sqlite:///")
    if "://" in chosen:
        raise ProjectError("this version keeps its state in an SQLite file", help="store: path/to/state.db")
    return project.root / chosen


def project_store(env: str | None) -> tuple[Project, Store]:
    from flowrun.store import open_store
    from flowrun.values import system_clock

    project = load_project(Path.cwd())
    path = store_path(project, project.environment(env))
    if not path.exists():
        raise ProjectError(f"there is no store at {path} yet", help="flowrun run FLOW")
    return project, open_store(path, now=system_clock)


@contextmanager
def asked_store(project: Project, environment: Environment) -> Iterator[Store]:
    """The environment's store, to look things up in; where there is none yet, an empty one that vanishes, so that a
    command which only asks leaves no file behind."""
    from flowrun.store import open_store
    from flowrun.values import system_clock

    path = store_path(project, environment)
    with TemporaryDirectory(prefix="flowrun-") as nowhere:
        store = open_store(path if path.exists() else Path(nowhere) / "empty.db", now=system_clock)
        try:
            yield store
        finally:
            store.close()


def known_flow(project: Project, store: Store, name: str | None) -> None:
    """Raises ProjectError for a name that neither the project nor the store has; a flow that is gone leaves records."""
    if name is not None and not store.records(flow=name, limit=1):
        named_flow(project.root, name)


def who() -> str:
    """The person at the keyboard, for the audit."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
