"""How the simulated Gateway speaks: entities in V2 and V4, error bodies, and what it refuses to read.

State is canonical: days and moments as ISO text (seven digits of a second), decimals as text, lists as lists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import quote

from flowrun.contract import Field, Shape
from flowrun.testing.simulator import SimResponse, json_response

UNKNOWN_PROPERTY = "005056A509B11EE1B9A8FEA8DE87F78E"
GENERIC = "/IWBEP/CX_MGW_BUSI_EXCEPTION"
TRANSACTION = "5E0F9D2C1A0E00D0E005F1A2B3C4D5E6"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Row = dict[str, Any]


class Stop(Exception):
    """The request ends here, with this answer."""

    def __init__(self, response: SimResponse) -> None:
        self.response = response


@dataclass(frozen=True, slots=True)
class Version:
    """v4: protocol. exact: IEEE754Compatible was asked for (accept) or declared (content). strict: V2 decimals must
    be text. ignore_read_only: what cannot be written is left out instead of refused; releases differ."""

    v4: bool
    exact: bool = False
    strict: bool = True
    ignore_read_only: bool = False


# -- errors --------------------------------------------------------------------------------------------------------


def refuse(
    v4: bool, status: int, code: str, text: str, target: str = "", *, more: tuple[tuple[str, str, str], ...] = ()
) -> Stop:
    """more: further (code, text, severity), as business checks give them."""
    if v4:
        details = [
            {
                "code": c, "message": t, "target": target, "@SAP__common.Severity": s,
                "@SAP__common.numericSeverity": 3 if s == "warning" else 4,
            }
            for c, t, s in more
        ]  # fmt: skip
        inner: Row = {
            "ErrorDetails": {
                "@SAP__common.Application": {"ComponentId": "SD-SLS-API", "ServiceRepository": "SRVD_A2X"},
                "@SAP__common.TransactionId": TRANSACTION,
            }
        }
        error: Row = {
            "code": code, "message": text, "target": target, "@SAP__common.ExceptionCategory": "Client_Error",
            "details": details, "innererror": inner,
        }  # fmt: skip
        return Stop(json_response({"error": error}, status))
    listed = [(code, text, "error"), *more, (GENERIC, "An exception was raised", "error")]
    said: Row = {
        "application": {"component_id": "SD-SLS-API", "service_namespace": "/SAP/", "service_version": "0001"},
        "transactionid": TRANSACTION,
        "timestamp": "20240501080000.1234560",
        "Error_Resolution": {"SAP_Transaction": "Run transaction /IWFND/ERROR_LOG"},
        "errordetails": [
            {
                "ContentID": "", "code": c, "message": t, "propertyref": "", "severity": s, "transition": False,
                "target": target if c == code else "",
            }
            for c, t, s in listed
        ],
    }  # fmt: skip
    return Stop(
        json_response({"error": {"code": code, "message": {"lang": "en", "value": text}, "innererror": said}}, status)
    )


# -- entities going out --------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Tree:
    """What of an entity is wanted. select: property names (empty: all); below: expanded navigations."""

    select: set[str] = field(default_factory=set)
    below: dict[str, Tree] = field(default_factory=dict)


def render(row: Mapping[str, Any], shape: Shape, tree: Tree, version: Version, uri: str, etag: str) -> Row:
    """uri: of this entity. etag: "" for a type that has none."""
    entity: Row = {}
    if version.v4:
        if etag:
            entity["@odata.etag"] = etag
    else:
        entity["__metadata"] = {"id": uri, "uri": uri, "type": f"SIM.{shape.name}Type"}
        if etag:
            entity["__metadata"]["etag"] = etag
    for name, one in shape.fields.items():
        if one.type in ("list", "object"):
            inner = one.item.shape if one.item is not None else one.shape
            if name in tree.below and inner is not None:
                rows = row.get(name) or []
                done = [render(r, inner, tree.below[name], version, f"{uri}/{name}", "") for r in _as_list(rows)]
                entity[name] = (
                    (done[0] if done else None) if one.type == "object" else done if version.v4 else {"results": done}
                )
            elif not version.v4:
                entity[name] = {"__deferred": {"uri": f"{uri}/{name}"}}
        elif not tree.select or name in tree.select:
            entity[name] = _scalar(row.get(name), one, version)
    return entity


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _scalar(value: Any, one: Field, version: Version) -> Any:
    if one.type == "text":
        return "" if value is None else str(value)
    if one.type == "boolean":
        return bool(value)
    if one.type == "decimal":
        text = str(value if value not in (None, "") else "0")
        return text if not version.v4 or version.exact else Decimal(text)
    if one.type == "integer":
        return int(value or 0)
    if value in (None, "") or version.v4:
        return value or None
    if one.type == "date":
        return f"/Date({ticks(str(value)) // 10_000})/"
    if one.type == "datetime":
        return f"/Date({ticks(str(value)) // 10_000}+0000)/"  # what is below a millisecond is lost
    if one.type == "time":
        at = time.fromisoformat(str(value))
        return f"PT{at.hour:02}H{at.minute:02}M{at.second:02}S"
    return value


def ticks(text: str) -> int:
    """Hundreds of nanoseconds since 1970, from ISO text with up to seven digits of a second. Raises ValueError."""
    found = re.fullmatch(r"(.*?)(?:\.(\d{1,7})\d*)?(Z|[+-]\d\d:?\d\d)?", text)
    assert found is not None
    at = datetime.fromisoformat(found.group(1) + (found.group(3) or ""))
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return (at - _EPOCH) // timedelta(microseconds=1) * 10 + int((found.group(2) or "").ljust(7, "0"))


def stamp(at: int) -> str:
    """Ticks as ISO text with seven digits of a second."""
    secs, rest = divmod(at, 10_000_000)
    return f"{(_EPOCH + timedelta(seconds=secs)).replace(tzinfo=None).isoformat()}.{rest:07}Z"


def key_uri(base: str, entity_set: str, keys: Mapping[str, Any]) -> str:
    parts = [f"{name}='{value}'" for name, value in keys.items()]
    inner = ",".join(parts) if len(parts) > 1 else parts[0].partition("=")[2]
    return f"{base}{entity_set}({quote(inner, safe=chr(39) + ',=')})"


# -- bodies coming in ----------------------------------------------------------------------------------------------


def read_body(body: Any, shape: Shape, version: Version, *, creating: bool, path: str = "") -> Row:
    """A body as canonical values. Raises Stop for whatever the metadata does not allow."""
    if not isinstance(body, dict):
        raise refuse(version.v4, 400, "/IWBEP/CM_MGW_RT/001", "An object is expected", path)
    found: Row = {}
    for name, value in body.items():
        if name in ("__metadata",) or name.startswith("@odata."):
            continue
        one, where = shape.get(name), f"{path}{name}"
        if one is None:
            raise refuse(
                version.v4, 400, UNKNOWN_PROPERTY, f"Property '{name}' not found in type '{shape.name}Type'", where
            )
        if one.type == "list":
            inner = one.item.shape if one.item is not None else None
            rows = _collection(value, version, where)
            if inner is not None:
                found[name] = [
                    read_body(row, inner, version, creating=creating, path=f"{where}({index})/")
                    for index, row in enumerate(rows, 1)
                ]
        elif one.type == "object" and one.shape is not None:
            found[name] = read_body(value, one.shape, version, creating=creating, path=f"{where}/")
        else:
            if not (one.creatable if creating else one.updatable or one.key):
                if version.ignore_read_only:
                    continue
                raise refuse(version.v4, 400, "/IWBEP/CM_MGW_RT/017", f"Property '{name}' is read-only", where)
            found[name] = _read_scalar(value, one, version, where)
    return found


def _collection(value: Any, version: Version, where: str) -> list[Any]:
    """V2 takes both forms, V4 plain arrays only."""
    if isinstance(value, dict) and not version.v4 and set(value) == {"results"}:
        value = value["results"]
    if not isinstance(value, list):
        raise refuse(version.v4, 400, "/IWBEP/CM_MGW_RT/001", "A collection is expected", where)
    return value


def _read_scalar(value: Any, one: Field, version: Version, where: str) -> Any:
    def wrong() -> Stop:
        shown = str(value)[:40]
        if version.v4:
            return refuse(
                True,
                400,
                "/IWBEP/CM_V4S_RUN/000",
                f"Property '{one.name}' at offset '0' has invalid value '{shown}'",
                where,
            )
        return refuse(False, 400, "/IWBEP/CM_MGW_RT/016", f"Invalid value for property '{one.name}'", where)

    if value is None:
        if one.type == "text" and not one.nullable:
            raise wrong()
        return None
    if one.type == "text":
        if not isinstance(value, str) or (one.max_length is not None and len(value) > one.max_length):
            raise wrong()
        return value
    if one.type == "boolean":
        if not isinstance(value, bool):
            raise wrong()
        return value
    if one.type == "integer":
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong()
        return value
    if one.type == "decimal":
        return _read_decimal(value, one, version, wrong)
    try:
        return _read_moment(value, one, version)
    except (ValueError, AttributeError, TypeError):
        raise wrong() from None


def _read_decimal(value: Any, one: Field, version: Version, wrong: Any) -> str:
    as_text = isinstance(value, str)
    if version.v4 and as_text != version.exact:
        raise wrong()
    if not version.v4 and version.strict and not as_text:
        raise wrong()
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise wrong()
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise wrong() from None
    if not number.is_finite():
        raise wrong()
    parts = number.as_tuple()
    exponent = int(parts.exponent)
    if one.scale is not None and -exponent > one.scale:
        raise wrong()
    if one.precision is not None and len(parts.digits) + max(exponent, 0) > one.precision:
        raise wrong()
    return format(number, "f")


def _read_moment(value: Any, one: Field, version: Version) -> str:
    if version.v4:
        if one.type == "date":
            return date.fromisoformat(value).isoformat()
        if one.type == "time":
            return time.fromisoformat(value).isoformat()
        if not str(value).endswith("Z"):
            raise ValueError(value)
        return stamp(ticks(value))
    if one.type == "time":
        found = re.fullmatch(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?", value)
        if found is None:
            raise ValueError(value)
        hours, minutes, seconds = (int(part or 0) for part in found.groups())
        return time(hours, minutes, seconds).isoformat()
    found = re.fullmatch(r"/Date\((-?\d+)(?:[+-]\d+)?\)/", value)
    at = int(found.group(1)) * 10_000 if found else ticks(value) if "T" in value else None
    if at is None:
        raise ValueError(value)
    return stamp(at)[:10] if one.type == "date" else stamp(at)
