"""Writing: create by deep insert, update by PATCH with the ETag just read."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import httpx

from flowrun.connector import Item, Receipt
from flowrun.contract import Field, Shape
from flowrun.errors import Conflict, ConnectorError, DeliveryUnknown, Refused
from flowrun.values import encode_json
from flowrun_connectors._http.bodies import read_json
from flowrun_connectors._odata.errors import warnings
from flowrun_connectors._odata.values import from_wire, key_path, to_wire
from flowrun_connectors.s4hana.objects import SERVICES, Service, shape
from flowrun_connectors.s4hana.reading import Reader
from flowrun_connectors.s4hana.session import Session

_V2 = {"accept": "application/json", "content-type": "application/json"}
_V4 = {
    "accept": "application/json",
    "content-type": "application/json;IEEE754Compatible=true",  # decimals travel as text, digit by digit
}


class Writer:
    """overwrite: ``If-Match: *`` instead of the ETag just read."""

    def __init__(self, session: Session, reader: Reader, *, overwrite: bool) -> None:
        self._session = session
        self._reader = reader
        self._overwrite = overwrite

    def create(self, item: Item) -> Receipt:
        """One POST with everything nested: all of it, or nothing. Raises ConnectorError.

        A success that names no document is an unknown outcome: something was written.
        """
        service, contract = SERVICES[item.object], shape(item.object)
        content = _content(service, contract, item.body)
        response = self._session.write("POST", service.root, service.root + item.object, content, _headers(service))
        record = from_wire(_entity(service, response), contract)
        number = number_of(service, record)
        if not number:
            raise DeliveryUnknown("the answer names no document", status=response.status_code)
        return Receipt(number, created=True, response=record, warnings=warnings(response))

    def update(self, item: Item) -> Receipt:
        """PATCH of what differs. Nothing differs: nothing is sent, so a repeat does no harm.

        Raises Conflict when somebody changed it between our reading and our writing, NotFound, Refused.
        """
        service, contract = SERVICES[item.object], shape(item.object)
        key = {name: item.body.get(name) for name in service.keys}
        if any(value in (None, "") for value in key.values()):
            raise Refused(f"the body lacks {', '.join(service.keys)}", field=service.keys[0])
        changes = {name: value for name, value in item.body.items() if name not in key}
        nested = next((name for name, value in changes.items() if isinstance(value, list | tuple | Mapping)), "")
        if nested:
            raise Refused(
                f"'{nested}' cannot be updated with its {item.object}",
                field=nested,
                help="S/4HANA knows no deep update: change the header's fields, or write the items by themselves",
            )
        there = self._reader.one(item.object, key)
        changes = {
            name: value for name, value in changes.items()
            if name not in there.record or not _equal(there.record[name], value, contract.get(name))
        }  # fmt: skip
        if not changes:
            return Receipt(number_of(service, there.record), response=there.record)
        headers = _headers(service)
        if service.etag and (self._overwrite or there.etag):  # none came: the system decides if it needs one
            headers["if-match"] = "*" if self._overwrite else there.etag
        path = service.root + key_path(item.object, key, contract, v4=service.v4)
        try:
            response = self._session.write("PATCH", service.root, path, _content(service, contract, changes), headers)
        except Conflict as error:
            raise Conflict(
                f"{item.object} {number_of(service, key)} was changed meanwhile",
                code=error.code,
                status=error.status,
                help="a retry reads it again and decides again",
            ) from None
        if response.status_code != 204:  # some answer with the entity; anything else is no answer of Gateway
            _entity(service, response)
        return Receipt(
            number_of(service, there.record), response={**there.record, **changes}, warnings=warnings(response)
        )


def _entity(service: Service, response: httpx.Response) -> Mapping[str, Any]:
    """The entity a success answers with. Raises DeliveryUnknown when there is none: something may have been written."""
    try:
        body = read_json(response)
    except ConnectorError:
        body = None
    entity = body if service.v4 else body.get("d") if isinstance(body, dict) else None
    if not isinstance(entity, dict):
        raise DeliveryUnknown(f"status {response.status_code}, but no answer of Gateway", status=response.status_code)
    return entity


def number_of(service: Service, record: Mapping[str, Any]) -> str:
    """``4711``; parts of a longer key joined by a slash."""
    return "/".join(str(record.get(name) or "") for name in service.keys).strip("/")


def _headers(service: Service) -> dict[str, str]:
    return dict(_V4 if service.v4 else _V2)


def _content(service: Service, contract: Shape, body: Mapping[str, Any]) -> bytes:
    return encode_json(to_wire(body, contract, v4=service.v4))


def _equal(there: Any, wanted: Any, field: Field | None) -> bool:
    """Is the value as it stands the wanted one? Trailing zeros vary, an empty day is null, an empty text is ""."""
    if there in (None, "") and wanted in (None, ""):
        return True
    if field is not None and field.type == "decimal":
        try:
            return Decimal(str(there)) == Decimal(str(wanted))
        except InvalidOperation:
            return False
    if field is not None and field.type == "text" and isinstance(wanted, int) and not isinstance(wanted, bool):
        wanted = str(wanted)
    return bool(there == wanted) and type(there) is type(wanted)
