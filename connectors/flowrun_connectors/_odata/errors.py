"""Error bodies of OData V2 and V4 → what they say: code, text, field, details. What a code means is the vendor's part.

Lenient on purpose: ``message`` as text or object, details as a list, an object or absent, XML although JSON was asked
for. Source: OASIS OData JSON format; recorded answers of SAP Gateway.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

import httpx

from flowrun.errors import ConnectorError
from flowrun_connectors._json import parse_json
from flowrun_connectors._odata.xml import parse_xml

GENERIC = "/IWBEP/CX_MGW_BUSI_EXCEPTION"
"""Stands at the end of most of Gateway's details and says nothing."""

_REASONS = ("error", "abort", "4")
_MOST_TEXT = 500  # characters of one message that are kept


@dataclass(frozen=True, slots=True)
class Detail:
    code: str
    text: str
    target: str
    severity: str

    @property
    def is_reason(self) -> bool:
        """Warnings among the details of a failure are not why it failed."""
        return self.severity.lower() in _REASONS


@dataclass(frozen=True, slots=True)
class Problem:
    """code, text, target: of the error as a whole. transaction: by which an administrator finds the log entry."""

    code: str
    text: str
    target: str = ""
    details: tuple[Detail, ...] = ()
    transaction: str = ""

    def reasons(self) -> list[Detail]:
        """The details that say why, without the generic line when others exist, each once."""
        found = [d for d in dict.fromkeys(self.details) if d.is_reason]
        return [d for d in found if d.code != GENERIC] or found


def problem(response: httpx.Response) -> Problem | None:
    """What an answer that is no success says; None when it is no OData error (a proxy's page, plain text)."""
    kind = response.headers.get("content-type", "").lower()
    if "json" in kind:
        try:
            body = parse_json(response.content)
        except ConnectorError:
            return None
        error = body.get("error") if isinstance(body, dict) else None
        return _from_json(error) if isinstance(error, dict) else None
    if "xml" in kind:
        return _from_xml(response.content)
    return None


def _from_json(error: Mapping[str, Any]) -> Problem:
    message = error.get("message")
    text = message.get("value") if isinstance(message, dict) else message
    inner = error.get("innererror")
    inner = inner if isinstance(inner, dict) else {}
    v4 = inner.get("ErrorDetails")
    transaction = inner.get("transactionid") or (v4.get("@SAP__common.TransactionId") if isinstance(v4, dict) else "")
    listed = inner["errordetails"] if "errordetails" in inner else error.get("details")
    return Problem(
        code=_text(error.get("code")),
        text=_text(text),
        target=_text(error.get("target")),
        details=tuple(_details(listed)),
        transaction=_text(transaction),
    )


def _details(listed: Any) -> Iterator[Detail]:
    if isinstance(listed, dict):  # converted from XML
        listed = listed.get("errordetail", [])
    for one in listed if isinstance(listed, list) else [listed]:
        if isinstance(one, dict):
            text = one.get("message")
            yield Detail(
                _text(one.get("code")),
                _text(text.get("value") if isinstance(text, dict) else text),
                _text(one.get("propertyref") or one.get("target")),
                _text(one.get("severity") or one.get("@SAP__common.Severity") or "error"),
            )


def _from_xml(data: bytes) -> Problem | None:
    try:
        root = parse_xml(data)
    except ValueError:
        return None
    if _local(root) != "error":
        return None
    plain = {_local(child): child for child in root}
    details = []
    for one in root.iter():
        if _local(one) == "errordetail":
            parts = {_local(child): child.text for child in one}
            details.append(
                Detail(
                    _text(parts.get("code")),
                    _text(parts.get("message")),
                    _text(parts.get("propertyref") or parts.get("target")),
                    _text(parts.get("severity") or "error"),
                )
            )
    code, message = plain.get("code"), plain.get("message")
    found = next((e.text for e in root.iter() if _local(e) == "transactionid"), "")
    return Problem(
        code=_text(code.text if code is not None else ""),
        text=_text("".join(message.itertext()) if message is not None else ""),
        details=tuple(details),
        transaction=_text(found),
    )


def _local(element: Element) -> str:
    return element.tag.rsplit("}", 1)[-1]


def _text(value: Any) -> str:
    return str(value or "")[:_MOST_TEXT]


def warnings(response: httpx.Response) -> tuple[str, ...]:
    """What a success says beside itself: ``sap-message`` (V2, one with details) and ``sap-messages`` (V4, a list).

    Information is left out; warnings and worse are kept as "code: text".
    """
    found: list[Any] = []
    for header in ("sap-message", "sap-messages"):
        try:
            value = json.loads(response.headers.get(header) or "null")
        except ValueError:
            continue
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict):
                inner = one.get("details")
                found += [one, *(inner if isinstance(inner, list) else [])]
    listed = [
        f"{_text(one.get('code'))}: {_text(one.get('message'))}"
        for one in found
        if isinstance(one, dict) and _severity(one) in ("warning", "error", "abort", "3", "4")
    ]
    return tuple(dict.fromkeys(listed))


def _severity(one: Mapping[str, Any]) -> str:
    return str(
        one.get("severity") or one.get("numericSeverity") or one.get("@SAP__common.numericSeverity") or ""
    ).lower()
