"""What most commands begin with: the project, a flow, its plan in an environment, where its state is."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flowrun.connector import Registry, discover
from flowrun.errors import ProjectError
from flowrun.flow import load_flow, named_flow
from flowrun.flow.model import Flow
from flowrun.plan import Plan, compile_plan
from flowrun.project import Environment, Project, load_project

if TYPE_CHECKING:
    from flowrun.pacing.booking import State
    from flowrun.store import Store
    from flowrun.store.budgets import Budgets
    from flowrun.store.reading import Reading
    from flowrun.store.vault import Vault


def open_flow(name_or_path: str, env: str | None) -> tuple[Project, Registry, Flow, Plan]:
    """Raises InvalidFlow or ProjectError."""
    path = Path(name_or_path)
    project = load_project(path if path.exists() else Path.cwd())
    registry = discover()
    flow = load_flow(name_or_path, project, registry)
    return project, registry, flow, compile_plan(flow, project.environment(env).values)


def of_one_map(flow: Flow, command: str) -> None:
    """Raises ProjectError for a workflow, where a command looks at the one body that ``map`` builds."""
    if flow.steps:
        raise ProjectError(
            f"{command} looks at what one map builds, and '{flow.name}' is a workflow: its steps depend on each answer",
            help="flowrun test goes through its steps; flowrun trace KEY shows those of a record",
        )


def store_place(project: Project, environment: Environment) -> Path | str:
    """FLOWRUN_STORE, else the environment's ``store:``, else ``.flowrun/state-ENVIRONMENT.db`` in the project: the path
    of an SQLite file, or the address of a PostgreSQL database.

    One file an environment, so that what was tried in a sandbox is never taken for done in production.
    """
    chosen = os.environ.get("FLOWRUN_STORE") or (project.resolve(environment.store) if environment.store else "")
    if not chosen:
        return project.root / ".flowrun" / f"state-{environment.name}.db"
    chosen = str(chosen).removeprefix("sqlite:///")
    return chosen if "://" in chosen else project.root / chosen


def is_there(place: Path | str) -> bool:
    """Whether a store may hold something: a database server is asked when it is opened."""
    return isinstance(place, str) or place.exists()


def project_store(env: str | None) -> tuple[Project, Store]:
    project = load_project(Path.cwd())
    place = store_place(project, project.environment(env))
    if not is_there(place):
        raise ProjectError(f"there is no store at {place} yet", help="flowrun run FLOW")
    return project, opened_store(project, project.environment(env))


def opened_store(project: Project, environment: Environment) -> Store:
    """The environment's store, made when it is not there. Raises ProjectError, StoreError: also without its key."""
    from flowrun.connections import cover_of
    from flowrun.store import open_store

    return open_store(store_place(project, environment), cover=cover_of(project))


def held_store(project: Project, environment: Environment) -> Reading:
    """The environment's store, only to be asked; an empty one when it is not there."""
    from flowrun.connections import cover_of
    from flowrun.store.reading import read_store

    return read_store(store_place(project, environment), cover_of(project))


@contextmanager
def project_vault(project: Project, environment: Environment) -> Iterator[Vault | None]:
    """Where tokens are kept, also while a service holds the state; None when flowrun.yaml names no key."""
    if project.store_key is None:
        yield None
        return
    from flowrun.connections import vault_of
    from flowrun.store.database import open_database
    from flowrun.values import system_clock

    database = open_database(store_place(project, environment), beside=True)
    try:
        yield vault_of(project, database, now=system_clock)
    finally:
        database.close()


@contextmanager
def existing_budgets(project: Project, environment: Environment) -> Iterator[Budgets | None]:
    """What is left of limits, also while a service holds the state; None when there is no store yet."""
    place = store_place(project, environment)
    if not is_there(place):
        yield None
        return
    from flowrun.store.budgets import Budgets
    from flowrun.store.database import open_database

    database = open_database(place, beside=True)
    try:
        yield Budgets(database)
    finally:
        database.close()


def known_budgets(project: Project, environment: Environment) -> dict[str, tuple[State, float]]:
    """Connection → what the store knows of its budget, and the moment it was asked; only read. Raises StoreError."""
    place = store_place(project, environment)
    if not is_there(place):
        return {}
    from flowrun.store.budgets import Budgets
    from flowrun.store.reading import Untouched

    database = Untouched(place)
    try:
        asked = {name: Budgets(database).of(name) for name in project.connections}
        return {name: found for name, found in asked.items() if found is not None}
    finally:
        database.close()


def known_flow(project: Project, store: Store, name: str | None) -> None:
    """Raises ProjectError for a name that neither the project nor the store has; a flow that is gone leaves records."""
    if name is not None and not store.records(flow=name, limit=1):
        named_flow(project.root, name)


@contextmanager
def existing_vault(project: Project, environment: Environment) -> Iterator[Vault | None]:
    """Where tokens are kept, for commands that only look. A grant that has to be renewed is kept, since it would be
    lost otherwise; a store that is not there is not made for it."""
    place = store_place(project, environment)
    if not is_there(place):
        yield None
        return
    with project_vault(project, environment) as vault:
        yield vault


def who() -> str:
    """The person at the keyboard, for the audit."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
