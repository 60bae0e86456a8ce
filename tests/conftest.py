"""What several rooms' tests share: a project in a folder, and the two simulated systems."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowrun.connections import build
from flowrun.values import system_clock

ROOT = Path(__file__).parent.parent


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
