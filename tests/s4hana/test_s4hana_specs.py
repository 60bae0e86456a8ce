"""Against SAP's own published metadata, where it lies beside the project: contracts are derived from it, bodies fit it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from tests.contract.test_s4hana import v4_order
from tests.s4hana.s4kit import SOURCES, SPECS, order

from flowrun.contract import Shape
from flowrun_connectors._odata.edmx import Metadata
from flowrun_connectors.s4hana import derive
from flowrun_connectors.s4hana.objects import SERVICES, shape

pytestmark = pytest.mark.skipif(not SPECS.is_dir(), reason="SAP's metadata files are not beside this checkout")


def metadata(object: str) -> Metadata:
    name = SOURCES[object]
    return Metadata((SPECS / f"{name}.edmx").read_bytes(), f"{name} $metadata")


@pytest.mark.parametrize("object", SERVICES)
def test_the_shipped_contract_is_what_derive_gives(object: str) -> None:
    assert derive.derive(object, metadata(object)) == shape(object)


def test_derive_is_a_command() -> None:
    path = str(SPECS / f"{SOURCES['A_MatlStkInAcctMod']}.edmx")
    run = subprocess.run(
        [sys.executable, "-m", "flowrun_connectors.s4hana.derive", path, "A_MatlStkInAcctMod"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == derive.text_of(shape("A_MatlStkInAcctMod"))
    wrong = subprocess.run(
        [sys.executable, "-m", "flowrun_connectors.s4hana.derive", path, "Nope"], capture_output=True, text=True
    )
    assert wrong.returncode == 2


@pytest.mark.parametrize(("object", "body"), [("A_SalesOrder", order()), ("SalesOrder", v4_order())])
def test_what_we_post_exists_there_fits_and_is_creatable(object: str, body: dict[str, Any]) -> None:
    assert list(misfits(body, metadata(object).shape(object, 5), "")) == []
    assert list(misfits({**body, "Nope": 1, "SoldToParty": "x" * 11}, metadata(object).shape(object, 5), "")) == [
        "SoldToParty is too long", "Nope does not exist",
    ]  # fmt: skip


def misfits(body: dict[str, Any], there: Shape, path: str) -> Any:
    for name, value in body.items():
        field = there.get(name)
        if field is None:
            yield f"{path}{name} does not exist"
        elif isinstance(value, list):
            assert field.item is not None and field.item.shape is not None
            for row in value:
                yield from misfits(row, field.item.shape, f"{path}{name}/")
        else:
            if not field.creatable:
                yield f"{path}{name} is not creatable"
            if field.max_length is not None and len(str(value)) > field.max_length:
                yield f"{path}{name} is too long"


@pytest.mark.parametrize("object", SERVICES)
def test_etags_stand_where_the_metadata_says(object: str) -> None:
    """Types with a property of ConcurrencyMode Fixed (V2) or an OptimisticConcurrency annotation (V4)."""
    text = (SPECS / f"{SOURCES[object]}.edmx").read_text()
    if SERVICES[object].v4:
        marked = "OptimisticConcurrency" in text
    else:
        start = text.index(f'<EntityType Name="{object}Type"')
        marked = 'ConcurrencyMode="Fixed"' in text[start : text.index("</EntityType>", start)]
    assert SERVICES[object].etag == marked
