"""$metadata (EDMX of V2 and V4) → Shapes: field, type, length, creatable, updatable, required, navigation.

Source: OASIS CSDL 2.0 and 4.01; SAP's ``sap:`` annotations for V2, the Core and Capabilities vocabularies for V4.
A document type declaration is refused, and with it entities.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element

from flowrun.contract import Field, FieldType, Shape
from flowrun.errors import ConnectorError
from flowrun_connectors._odata.xml import parse_xml

MOST_BYTES = 32 * 1024 * 1024  # of one metadata document
_SAP = "{http://www.sap.com/Protocols/SAPData}"
_TYPES: Mapping[str, FieldType] = {
    "Edm.String": "text", "Edm.Guid": "text", "Edm.Binary": "text", "Edm.Stream": "text",
    "Edm.Decimal": "decimal", "Edm.Double": "decimal", "Edm.Single": "decimal",
    "Edm.Int16": "integer", "Edm.Int32": "integer", "Edm.Int64": "integer", "Edm.Byte": "integer", "Edm.SByte": "integer",
    "Edm.Boolean": "boolean", "Edm.DateTimeOffset": "datetime", "Edm.Date": "date", "Edm.Time": "time", "Edm.TimeOfDay": "time",
}  # fmt: skip


class Metadata:
    """One service's metadata. ``shape(entity set)`` nests navigations to ``depth`` levels.

    source: where the document is from, in words; every Shape made of it says so.
    Raises ConnectorError for a document that is no metadata, or that could blow up when it is parsed.
    """

    def __init__(self, xml: bytes, source: str) -> None:
        root = _parse(xml)
        self.source = source
        self.v4 = root.get("Version", "1.0").startswith("4")
        self._types: dict[str, Element] = {}
        self._sets: dict[str, str] = {}
        self._ends: dict[str, dict[str, tuple[str, bool]]] = {}
        self._alias: dict[str, str] = {}
        schemas = [element for element in root.iter() if _local(element) == "Schema"]
        for schema in schemas:
            namespace = schema.get("Namespace") or ""
            if schema.get("Alias"):
                self._alias[str(schema.get("Alias"))] = namespace
        for schema in schemas:
            self._read_schema(schema)
        self._computed: set[str] = set()
        self._fixed: set[str] = set()  # may be sent on create, never changed
        self._required: dict[str, set[str]] = {}  # entity set → properties
        for schema in schemas:
            self._read_annotations(schema)
        self._set_of = {type_name: name for name, type_name in reversed(self._sets.items())}

    def sets(self) -> list[str]:
        return list(self._sets)

    def shape(self, entity_set: str, depth: int = 3) -> Shape:
        """Raises ConnectorError when there is no such set."""
        if entity_set not in self._sets:
            raise ConnectorError(
                f"the service has no entity set '{entity_set}'", help=f"it has: {', '.join(self._sets)}"
            )
        return self._shape(entity_set, self._sets[entity_set], depth, ())

    # -- taking in -------------------------------------------------------------------------------------------------

    def _full(self, name: str) -> str:
        """``SAP__self.SalesOrder_Type`` → the name with its real namespace."""
        prefix, dot, rest = name.rpartition(".")
        return f"{self._alias[prefix]}.{rest}" if dot and prefix in self._alias else name

    def _read_schema(self, schema: Element) -> None:
        namespace = schema.get("Namespace") or ""
        for child in schema:
            kind, name = _local(child), child.get("Name")
            if kind in ("EntityType", "ComplexType"):
                self._types[f"{namespace}.{name}"] = child
            elif kind == "Association":
                self._ends[f"{namespace}.{name}"] = {
                    str(end.get("Role")): (self._full(str(end.get("Type"))), end.get("Multiplicity") == "*")
                    for end in child
                    if _local(end) == "End"
                }
            elif kind == "EntityContainer":
                for one in child:
                    if _local(one) == "EntitySet":
                        self._sets[str(one.get("Name"))] = self._full(str(one.get("EntityType")))

    def _read_annotations(self, schema: Element) -> None:
        for group in (e for e in schema if _local(e) == "Annotations"):
            head, _, tail = str(group.get("Target")).partition("/")
            target = f"{self._full(head)}/{tail}"
            for one in group:
                term = str(one.get("Term")).rpartition(".")[2]
                if term == "Computed" and one.get("Bool") != "false":
                    self._computed.add(target)
                elif term == "Immutable" and one.get("Bool") != "false":
                    self._fixed.add(target)
                elif term == "InsertRestrictions":
                    self._required.setdefault(tail, set()).update(_paths(one, "RequiredProperties"))
                elif term == "UpdateRestrictions" and tail in self._sets:
                    self._fixed |= {f"{self._sets[tail]}/{name}" for name in _paths(one, "NonUpdatableProperties")}

    # -- giving out ------------------------------------------------------------------------------------------------

    def _shape(self, name: str, type_name: str, depth: int, above: tuple[str, ...]) -> Shape:
        element = self._types[type_name]
        keys = {str(ref.get("Name")) for key in element if _local(key) == "Key" for ref in key}
        needed = self._required.get(self._set_of.get(type_name, ""), set())
        fields: dict[str, Field] = {}
        for one in element:
            kind, own = _local(one), str(one.get("Name"))
            if own.startswith("SAP__"):
                continue  # messages of the system, no data
            if kind == "Property":
                fields[own] = self._property(one, type_name, keys, needed)
            elif kind == "NavigationProperty" and depth > 0:
                nested = self._navigation(one, depth, (*above, type_name))
                if nested is not None:
                    fields[own] = nested
        return Shape(name, fields, closed=True, text_numbers=not self.v4, source=self.source)

    def _property(self, one: Element, type_name: str, keys: set[str], needed: set[str]) -> Field:
        name, kind = str(one.get("Name")), str(one.get("Type"))
        found: FieldType = _TYPES.get(kind, "any")
        if kind == "Edm.DateTime":
            found = "date" if _is_day(one, name) else "datetime"
        target = f"{type_name}/{name}"
        computed = target in self._computed
        return Field(
            name,
            found,
            max_length=_number(one.get("MaxLength")) if found == "text" else None,
            precision=_number(one.get("Precision")) if found == "decimal" else None,
            scale=_number(one.get("Scale")) if found == "decimal" else None,
            required=name in needed and not computed,
            creatable=one.get(_SAP + "creatable") != "false" and not computed,
            updatable=one.get(_SAP + "updatable") != "false"
            and name not in keys
            and not computed
            and target not in self._fixed,
            nullable=one.get("Nullable") != "false",
            key=name in keys,
            title=one.get(_SAP + "label") or "",
        )

    def _navigation(self, one: Element, depth: int, above: tuple[str, ...]) -> Field | None:
        name = str(one.get("Name"))
        if one.get("Relationship"):
            ends = self._ends.get(self._full(str(one.get("Relationship"))), {})
            type_name, many = ends.get(str(one.get("ToRole")), ("", False))
        else:
            kind = str(one.get("Type"))
            many = kind.startswith("Collection(")
            type_name = self._full(kind[11:-1] if many else kind)
        if type_name not in self._types or type_name in above:
            return None  # a way back up, or into a service that is not described here
        own = type_name.rpartition(".")[2].removesuffix("Type").removesuffix("_")
        shape = self._shape(own, type_name, depth - 1, above)
        if many:
            return Field(name, "list", item=Field("", "object", shape=shape))
        return Field(name, "object", shape=shape)


def _parse(xml: bytes) -> Element:
    if len(xml) > MOST_BYTES:
        raise ConnectorError(f"the metadata is larger than {MOST_BYTES} bytes")
    try:
        root = parse_xml(xml)
    except ValueError as error:
        raise ConnectorError(f"the metadata cannot be read: {error}") from None
    if _local(root) != "Edmx":
        raise ConnectorError(f"the document is <{_local(root)}>, not the metadata of an OData service")
    return root


def _is_day(one: Element, name: str) -> bool:
    """V2 has no type for a day: SAP marks it, gives it no seconds, or, in older services, only names it so."""
    return one.get(_SAP + "display-format") == "Date" or one.get("Precision") in (None, "0") or name.endswith("Date")


def _paths(annotation: Element, property_name: str) -> set[str]:
    """The PropertyPaths listed under one PropertyValue, not those of records nested deeper."""
    found: set[str] = set()
    for record in annotation:
        for value in record:
            if value.get("Property") == property_name:
                found |= {str(path.text) for path in value.iter() if _local(path) == "PropertyPath" and path.text}
    return found


def _local(element: Element) -> str:
    return element.tag.rsplit("}", 1)[-1]


def _number(text: Any) -> int | None:
    return int(text) if text and str(text).isdigit() else None
