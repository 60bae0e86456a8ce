"""$metadata of a simulated service, made from the shipped contracts: what ``pull_contract`` reads back."""

from __future__ import annotations

import dataclasses
from xml.sax.saxutils import quoteattr

from flowrun.contract import Field, Shape
from flowrun_connectors.s4hana.objects import SERVICES, shape

_V2 = {"text": "Edm.String", "integer": "Edm.Int32", "boolean": "Edm.Boolean", "decimal": "Edm.Decimal",
       "date": "Edm.DateTime", "datetime": "Edm.DateTimeOffset", "time": "Edm.Time"}  # fmt: skip
_V4 = {**_V2, "date": "Edm.Date", "time": "Edm.TimeOfDay"}


def metadata(root: str) -> bytes:
    """The document of the service at ``root``."""
    v4 = any(service.v4 for service in SERVICES.values() if service.root == root)
    types: dict[str, Shape] = {}
    for name, service in SERVICES.items():
        if service.root == root:
            _collect(shape(name), types)
    body = "".join(_v4_type(one) if v4 else _v2_type(one) for one in types.values())
    sets = "".join(f'<EntitySet Name="{name}" EntityType="SIM.{name}Type"/>' for name in types)
    container = f'<EntityContainer Name="Container">{sets}</EntityContainer>'
    if v4:
        notes = "".join(_annotations(one) for one in types.values())
        text = (
            '<?xml version="1.0" encoding="utf-8"?>'
            '<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx">'
            '<edmx:DataServices><Schema Namespace="SIM" Alias="SAP__self" xmlns="http://docs.oasis-open.org/odata/ns/edm">'
            f"{body}{container}{notes}</Schema></edmx:DataServices></edmx:Edmx>"
        )
    else:
        links = "".join(_associations(one) for one in types.values())
        text = (
            '<?xml version="1.0" encoding="utf-8"?>'
            '<edmx:Edmx Version="1.0" xmlns:edmx="http://schemas.microsoft.com/ado/2007/06/edmx"'
            ' xmlns:sap="http://www.sap.com/Protocols/SAPData"><edmx:DataServices>'
            '<Schema Namespace="SIM" xmlns="http://schemas.microsoft.com/ado/2008/09/edm">'
            f"{body}{links}{container}</Schema></edmx:DataServices></edmx:Edmx>"
        )
    return text.encode()


def _inner(field: Field) -> Shape | None:
    return field.item.shape if field.item is not None else field.shape


def _collect(one: Shape, types: dict[str, Shape]) -> None:
    """Every type by name; a type met twice has the fields of both."""
    held = types.get(one.name)
    types[one.name] = dataclasses.replace(one, fields={**(held.fields if held else {}), **one.fields})
    for field in one.fields.values():
        inner = _inner(field)
        if inner is not None:
            _collect(inner, types)


def _keys(one: Shape) -> str:
    keys = "".join(f'<PropertyRef Name="{field.name}"/>' for field in one.fields.values() if field.key)
    return f"<Key>{keys}</Key>" if keys else ""


def _facets(field: Field) -> str:
    facets = {"MaxLength": field.max_length, "Precision": field.precision, "Scale": field.scale}
    text = "".join(f' {name}="{value}"' for name, value in facets.items() if value is not None)
    return text + ("" if field.nullable else ' Nullable="false"')


def _v2_type(one: Shape) -> str:
    out = []
    for field in one.fields.values():
        inner = _inner(field)
        if inner is not None:
            link = f"SIM.assoc_{one.name}_{field.name}"
            out.append(f'<NavigationProperty Name="{field.name}" Relationship="{link}" FromRole="f" ToRole="t"/>')
            continue
        more = ' sap:display-format="Date"' if field.type == "date" else ""
        more += "" if field.creatable else ' sap:creatable="false"'
        more += "" if field.updatable or field.key else ' sap:updatable="false"'
        kind = _V2.get(field.type, "Edm.String")
        out.append(f'<Property Name={quoteattr(field.name)} Type="{kind}"{_facets(field)}{more}/>')
    return f'<EntityType Name="{one.name}Type">{_keys(one)}{"".join(out)}</EntityType>'


def _associations(one: Shape) -> str:
    out = []
    for field in one.fields.values():
        inner = _inner(field)
        if inner is not None:
            many = "*" if field.type == "list" else "0..1"
            out.append(
                f'<Association Name="assoc_{one.name}_{field.name}">'
                f'<End Type="SIM.{one.name}Type" Multiplicity="1" Role="f"/>'
                f'<End Type="SIM.{inner.name}Type" Multiplicity="{many}" Role="t"/></Association>'
            )
    return "".join(out)


def _v4_type(one: Shape) -> str:
    out = []
    for field in one.fields.values():
        inner = _inner(field)
        if inner is not None:
            kind = f"SIM.{inner.name}Type"
            kind = f"Collection({kind})" if field.type == "list" else kind
            out.append(f'<NavigationProperty Name="{field.name}" Type="{kind}"/>')
        else:
            kind = _V4.get(field.type, "Edm.String")
            out.append(f'<Property Name={quoteattr(field.name)} Type="{kind}"{_facets(field)}/>')
    return f'<EntityType Name="{one.name}Type">{_keys(one)}{"".join(out)}</EntityType>'


def _annotations(one: Shape) -> str:
    """Computed: the system fills it. Immutable: sent on create, never changed."""
    out = []
    for field in one.fields.values():
        if _inner(field) is not None:
            continue
        term = "Computed" if not field.creatable else "Immutable" if not field.updatable and not field.key else ""
        if term:
            out.append(
                f'<Annotations Target="SAP__self.{one.name}Type/{field.name}">'
                f'<Annotation Term="SAP__core.{term}"/></Annotations>'
            )
    needed = "".join(f"<PropertyPath>{f.name}</PropertyPath>" for f in one.fields.values() if f.required)
    out.append(
        f'<Annotations Target="SAP__self.Container/{one.name}">'
        '<Annotation Term="SAP__capabilities.InsertRestrictions"><Record>'
        f'<PropertyValue Property="RequiredProperties"><Collection>{needed}</Collection></PropertyValue>'
        "</Record></Annotation></Annotations>"
    )
    return "".join(out)
