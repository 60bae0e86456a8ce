"""One request to X-Cart and what its answer means.

Source: API Platform 2.6 error bodies, X-Cart's token authenticator (fact sheet, sections 2, 3 and 8).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from flowrun.errors import ConnectorError, DeliveryUnknown, NotFound
from flowrun.values import encode_json
from flowrun_connectors._http.bodies import read_json
from flowrun_connectors._http.errors import from_exception, from_status
from flowrun_connectors._json import parse_json

LINKED = "application/ld+json"
PLAIN = "application/json"
LONGEST_WORDS = 500  # characters of the store's own message that are kept


class Api:
    """language: of names and texts; sent always, or they change with the store's default."""

    def __init__(self, http: httpx.Client, language: str) -> None:
        self._http = http
        self._language = language

    def one(self, path: str) -> dict[str, Any]:
        """GET one object. Raises NotFound."""
        found = self._ask("GET", path)
        if not isinstance(found, dict):
            raise ConnectorError(f"{path} gives no object")
        return found

    def page(
        self, path: str, params: Mapping[str, str], number: int, per_page: int
    ) -> tuple[list[dict[str, Any]], int]:
        """One page of a list by JSON-LD, and the number of rows of the whole list: plain JSON does not tell it."""
        asked = {**params, "itemsPerPage": str(per_page), "page": str(number)}
        found = self._ask("GET", path, params=asked, accept=LINKED)
        rows = found.get("hydra:member") if isinstance(found, dict) else None
        total = found.get("hydra:totalItems") if isinstance(found, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ConnectorError(f"{path} gives no hydra:member list")
        if not isinstance(total, int) or isinstance(total, bool) or total < 0:
            raise ConnectorError(f"{path} gives no hydra:totalItems")
        return rows, total

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """Raises DeliveryUnknown when the write may have been done and nothing tells."""
        return self._ask("PUT", path, body=body)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        accept: str = PLAIN,
    ) -> Any:
        writing = method != "GET"
        headers = {"accept": accept, "accept-language": self._language}
        content = encode_json(body) if body is not None else None
        if content is not None:
            headers["content-type"] = PLAIN
        try:
            response = self._http.request(method, path, params=params, content=content, headers=headers)
        except httpx.HTTPError as error:
            raise from_exception(error, writing=writing) from None
        if response.status_code >= 300:
            raise _error(response, writing)
        if writing and response.status_code == 204:
            return None
        try:
            return read_json(response)
        except ConnectorError as error:
            if writing:  # taken, it seems, but by whom? a maintenance page answers 200 too
                raise DeliveryUnknown(error.message, status=response.status_code, help=error.help) from None
            raise


def _error(response: httpx.Response, writing: bool) -> ConnectorError:
    """``detail`` in JSON, ``hydra:description`` in JSON-LD, ``message`` of the authenticators, ``violations``."""
    body: Any = None
    if "json" in response.headers.get("content-type", "").lower():
        try:
            body = parse_json(response.content)
        except ConnectorError:
            body = None
    said = body if isinstance(body, dict) else {}
    words = next((str(said[k]) for k in ("detail", "hydra:description", "message") if said.get(k)), "")[:LONGEST_WORDS]
    violations = [v for v in said.get("violations") or () if isinstance(v, dict)]
    field = str(violations[0].get("propertyPath", "")) if violations else ""
    details = tuple((str(v.get("propertyPath", "")), str(v.get("message", ""))) for v in violations)
    code = str(violations[0].get("code", "")) if violations else ""
    status = response.status_code
    if status == 400 and "not found" in words:  # an unknown order id is a wrong argument to X-Cart, not a 404
        return NotFound(words, status=status)
    if status == 404 and body is None:
        return ConnectorError(
            "there is no API at this address (status 404 and a page)", status=status, help="check base_url and profile"
        )
    error = from_status(response, words, code=code, field=field, writing=writing, details=details)
    if status == 401:
        error.help = "check api_key (Settings → API in the store's admin area)"
    if status == 403 and writing:
        error.help = "writing needs the read/write key, not the read-only one"
    return error
