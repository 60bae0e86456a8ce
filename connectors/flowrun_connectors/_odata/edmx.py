"""$metadata (EDMX of V2 and V4) → Shapes: field, type, length, creatable, updatable, navigation.

Source: OASIS CSDL; SAP's ``sap:`` annotations for V2. Entities and document type declarations are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from flowrun.contract import Field, FieldType, Shape
from flowrun.errors import ConnectorError

_SAP = "{http://www.sap.com/Protocols/SAPData}"
_TYPES: Mapping[str, FieldType] = {
    "Edm.String": "text", "Edm.Guid": "text", "Edm.Binary": "text", "Edm.Stream": "text",
    "Edm.Decimal": "decimal", "Edm.Double": "decimal", "Edm.Single": "decimal",
    "Edm.Int16": "integer", "Edm.Int32": "integer", "Edm.Int64": "integer", "Edm.Byte": "integer", "Edm.SByte": "integer",
    "Edm.Boolean": "boolean", "Edm.DateTimeOffset": "datetime", "Edm.Date": "date", "Edm.Time": "time", "Edm.TimeOfDay": "time",
}  # fmt: skip


class Metadata:
    """One service's metadata. ``shape(entity set)`` nests navigations to ``depth`` levels."""

    def __init__(self, xml: bytes, source: str) -> None:
        if b"<!DOCTYPE" in xml[:2000] or b"<!ENTITY" in xml:
            raise ConnectorError("the metadata declares a document type, which is refused")
        try:
            root = ElementTree.fromstring(xml)  # noqa: S314 - no document type, so no entities
        except ElementTree.ParseError as error:
            raise ConnectorError(f"the metadata is not XML: {error}") from None
        self.source = source
        self._types: dict[str, Element] = {}
        self._sets: dict[str, str] = {}
        self._ends: dict[str, dict[str, tuple[str, bool]]] = {}
        for schema in (e for e in root.iter() if _local(e) == "Schema"):
            names = [n for n in (schema.get("Namespace"), schema.get("Alias")) if n]
            for child in schema:
                kind = _local(child)
                for namespace in names:
                    if kind in ("EntityType", "ComplexType"):
                        self._types[f"{namespace}.{child.get('Name')}"] = child
                    elif kind == "Association":
                        ends = {
                            str(e.get("Role")): (str(e.get("Type")), e.get("Multiplicity") == "*")
                            for e in child
                            if _local(e) == "End"
                        }
                        self._ends[f"{namespace}.{child.get('Name')}"] = ends
                if kind == "EntityContainer":
                    for one in child:
                        if _local(one) == "EntitySet":
                            self._sets[str(one.get("Name"))] = str(one.get("EntityType"))
        self.v4 = root.get("Version", "1.0").startswith("4")

    def sets(self) -> list[str]:
        return list(self._sets)

    def shape(self, entity_set: str, depth: int = 3) -> Shape:
        """Raises ConnectorError when there is no such set."""
        if entity_set not in self._sets:
            raise ConnectorError(
                f"the service has no entity set '{entity_set}'", help=f"it has: {', '.join(self._sets)}"
            )
        return self._shape(entity_set, self._sets[entity_set], depth, ())

    def _shape(self, name: str, type_name: str, depth: int, above: tuple[str, ...]) -> Shape:
        element = self._types[type_name]
        keys = {ref.get("Name") for key in element if _local(key) == "Key" for ref in key}
        fields: dict[str, Field] = {}
        for one in element:
            kind = _local(one)
            if kind == "Property":
                field = self._property(one, keys)
                fields[field.name] = field
            elif kind == "NavigationProperty" and depth > 0:
                nested = self._navigation(one, depth, (*above, type_name))
                if nested is not None:
                    fields[nested.name] = nested
        return Shape(name, fields, closed=True, text_numbers=not self.v4, source=self.source)

    def _property(self, one: Element, keys: set[Any]) -> Field:
        kind = str(one.get("Type"))
        found: FieldType = _TYPES.get(kind, "any")
        if kind == "Edm.DateTime":
            found = (
                "date"
                if one.get(_SAP + "display-format") == "Date" or one.get("Precision") in (None, "0")
                else "datetime"
            )
        name = str(one.get("Name"))
        return Field(
            name,
            found,
            max_length=_number(one.get("MaxLength")) if found == "text" else None,
            precision=_number(one.get("Precision")) if found == "decimal" else None,
            scale=_number(one.get("Scale")) if found == "decimal" else None,
            creatable=one.get(_SAP + "creatable") != "false",
            updatable=one.get(_SAP + "updatable") != "false" and name not in keys,
            nullable=one.get("Nullable") != "false",
            key=name in keys,
            title=one.get(_SAP + "label") or "",
        )

    def _navigation(self, one: Element, depth: int, above: tuple[str, ...]) -> Field | None:
        name = str(one.get("Name"))
        if one.get("Relationship"):
            type_name, many = self._ends.get(str(one.get("Relationship")), {}).get(str(one.get("ToRole")), ("", False))
        else:
            kind = str(one.get("Type"))
            many = kind.startswith("Collection(")
            type_name = kind[11:-1] if many else kind
        if type_name not in self._types or type_name in above:
            return None
        shape = self._shape(type_name.rsplit(".", 1)[-1].removesuffix("Type"), type_name, depth - 1, above)
        if many:
            return Field(name, "list", item=Field("", "object", shape=shape))
        return Field(name, "object", shape=shape)


def _local(element: Element) -> str:
    return element.tag.rsplit("}", 1)[-1]


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None
