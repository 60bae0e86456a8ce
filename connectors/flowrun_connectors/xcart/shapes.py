"""The contracts of X-Cart's objects as flows see them; the same for every profile. Facts stand in ``contracts/``."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from flowrun.contract import Shape
from flowrun.values import decode_json

OBJECTS = ("orders", "products", "customers")
COMPAT_ONLY = ("tracking_number", "carrier", "sap_invoice", "sap_order")
"""Order fields that only the module of the compat profile takes."""


@cache
def shape(name: str, compat: bool) -> Shape | None:
    """None when there is no such object. Without the module its fields are read-only, so ``validate`` says so."""
    if name not in OBJECTS:
        return None
    found = Shape.from_json(decode_json((Path(__file__).parent / "contracts" / f"{name}.json").read_bytes()))
    if name != "orders" or compat:
        return found
    fields = {key: replace(f, updatable=False) if key in COMPAT_ONLY else f for key, f in found.fields.items()}
    return replace(found, fields=fields)
