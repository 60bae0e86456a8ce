"""Shape: the fields of a source or target object, as derived facts (from EDMX, OpenAPI, JSON Schema, samples).

A Shape file (``contracts/*.json``) is ``Shape.to_json()``: small, readable, one object a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

FieldType = Literal["text", "integer", "decimal", "boolean", "date", "datetime", "time", "object", "list", "any"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field. Lengths in characters; precision and scale in decimal digits.

    ``list``: ``item`` is the element (its own ``name`` is ""); ``object``: ``shape`` holds the fields.
    ``padded``: of digits only, they are the same with zeros before them and without (SAP's conversion ALPHA).
    ``required``: must be sent on create. ``enum``: the only values allowed (empty: any).
    """

    name: str
    type: FieldType = "any"
    max_length: int | None = None
    precision: int | None = None
    scale: int | None = None
    required: bool = False
    creatable: bool = True
    updatable: bool = True
    nullable: bool = True
    key: bool = False
    enum: tuple[str, ...] = ()
    shape: Shape | None = None
    item: Field | None = None
    title: str = ""
    padded: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """The fields of one object.

    closed: a field that is not listed does not exist (OData, OpenAPI); otherwise it is merely unknown.
    text_numbers: decimals travel as JSON text (OData V2; V4 with IEEE754Compatible).
    source: where the facts are from, e.g. "API_SALES_ORDER_SRV $metadata 2024-05".
    """

    name: str
    fields: Mapping[str, Field] = field(default_factory=dict)
    closed: bool = True
    text_numbers: bool = False
    source: str = ""

    def get(self, name: str) -> Field | None:
        return self.fields.get(name)

    def to_json(self) -> dict[str, Any]:
        body: dict[str, Any] = {"name": self.name, "source": self.source, "closed": self.closed}
        if self.text_numbers:
            body["text_numbers"] = True
        body["fields"] = [_field_to_json(f) for f in self.fields.values()]
        return body

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Shape:
        """Read what ``to_json`` wrote. Raises KeyError or TypeError when it is not such a file."""
        fields = [_field_from_json(f) for f in body["fields"]]
        return cls(
            name=body["name"],
            fields={f.name: f for f in fields},
            closed=bool(body.get("closed", True)),
            text_numbers=bool(body.get("text_numbers", False)),
            source=body.get("source", ""),
        )


_PLAIN = (
    "max_length",
    "precision",
    "scale",
    "required",
    "creatable",
    "updatable",
    "nullable",
    "key",
    "title",
    "padded",
)
_DEFAULTS = {name: Field.__dataclass_fields__[name].default for name in _PLAIN}


def _field_to_json(f: Field) -> dict[str, Any]:
    body: dict[str, Any] = {"name": f.name, "type": f.type}
    for name in _PLAIN:
        value = getattr(f, name)
        if value != _DEFAULTS[name]:
            body[name] = value
    if f.enum:
        body["enum"] = list(f.enum)
    if f.shape is not None:
        body["shape"] = f.shape.to_json()
    if f.item is not None:
        body["item"] = _field_to_json(f.item)
    return body


def _field_from_json(body: Mapping[str, Any]) -> Field:
    plain = {name: body[name] for name in _PLAIN if name in body}
    return Field(
        name=body["name"],
        type=body["type"],
        enum=tuple(body.get("enum", ())),
        shape=Shape.from_json(body["shape"]) if "shape" in body else None,
        item=_field_from_json(body["item"]) if "item" in body else None,
        **plain,
    )
