"""What Gateway says when it refuses, in all its shapes → class, code, text, field."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from flowrun.errors import (
    AuthFailed,
    Conflict,
    ConnectorError,
    DeliveryUnknown,
    NotFound,
    RateLimited,
    Refused,
    Unavailable,
)
from flowrun_connectors._odata.errors import warnings
from flowrun_connectors.s4hana.codes import error_of

JSON = {"content-type": "application/json;charset=utf-8"}
GENERIC = {
    "code": "/IWBEP/CX_MGW_BUSI_EXCEPTION",
    "message": "An exception was raised",
    "severity": "error",
    "target": "",
}


def v2(code: str, text: Any = "Words", details: Any = None, **inner: Any) -> dict[str, Any]:
    more = {"innererror": {"transactionid": "5E0F", "errordetails": details, **inner}} if details is not None else {}
    return {"error": {"code": code, "message": {"lang": "en", "value": text}, **more}}


def answer(status: int, body: Any = None, **headers: str) -> httpx.Response:
    if isinstance(body, bytes):
        return httpx.Response(status, content=body, headers=headers)
    return httpx.Response(status, content=json.dumps(body).encode(), headers={**JSON, **headers})


@pytest.mark.parametrize(
    ("status", "code", "text", "kind"),
    [
        (400, "005056A509B11EE1B9A8FEA8DE87F78E", "Property 'X' not found in type 'A_SalesOrderType'", Refused),
        (400, "/IWBEP/CM_MGW_RT/021", "filter not supported", Refused),
        (400, "VP/196", "Payer 1 not maintained for sales area 1710 10 00", Refused),
        (400, "VS/406", "Customer 1 is not created in sales area 1710 10 00", Refused),
        (400, "56/393", "something", Refused),
        (500, "VP/196", "some services use 500 for a business check", Refused),
        (400, "VL/045", "Document is busy", Unavailable),
        (400, "ZZ/001", "Sales document 4711 is currently being processed by user MILLER", Unavailable),
        (400, "M3/897", "Plant data of material A is locked by user X", Unavailable),
        (400, "NR/751", "For object X , number range interval 01 does not exist", ConnectorError),
        (404, "/IWBEP/CM_MGW_RT/020", "Resource not found for segment 'A_BusinessPartnerType'", NotFound),
        (403, "/IWFND/MED/170", "No service found", AuthFailed),
        (403, "/IWFND/CM_CONSUMER/101", "No authorization to access Service", AuthFailed),
        (412, "/X/412", "Precondition failed", Conflict),
        (428, "/X/428", "Precondition required", Conflict),
        (429, "/X/429", "Slower", RateLimited),
        (503, "/X/503", "Maintenance", Unavailable),
        (500, "SY/530", "An unknown internal server error occurred", DeliveryUnknown),
        (500, "/IWBEP/CM_MGW/001", "An unknown internal server error occurred", DeliveryUnknown),
        (400, "/IWBEP/CM_COS/005", "RequestID is outdated", DeliveryUnknown),
        (405, "/IWBEP/CM_MGW_RT/044", "not allowed", Refused),
    ],
)
def test_codes(status: int, code: str, text: str, kind: type[ConnectorError]) -> None:
    error = error_of(answer(status, v2(code, text, [])), writing=True)
    assert type(error) is kind
    assert error.message == text
    if status != 500 or kind is Refused:
        assert (error.code, error.status) == (code, status)


def test_a_short_dump_leaves_a_write_open_and_a_read_to_be_tried_again() -> None:
    dump = answer(500, v2("SY/530", "unknown internal error"))
    assert type(error_of(dump, writing=True)) is DeliveryUnknown
    assert type(error_of(dump, writing=False)) is Unavailable


def test_every_reason_is_kept_and_nothing_that_is_none() -> None:
    details = [
        {"code": "VP/196", "message": "Payer 1 not maintained", "severity": "error", "target": ""},
        {"code": "V1/555", "message": "Some warning", "severity": "warning", "target": "to_Item"},
        {
            "code": "VP/197",
            "message": "Bill-to 2 not maintained",
            "severity": "error",
            "propertyref": "to_Partner/Customer",
        },
        GENERIC,
    ]
    error = error_of(answer(400, v2("VP/196", "Payer 1 not maintained", details)), writing=True)
    assert error.details == (("VP/197", "Bill-to 2 not maintained"),)
    assert error.field == "to_Partner/Customer"


def test_a_generic_first_line_gives_way_to_the_reason() -> None:
    details = [
        {"code": "V1/382", "message": "Material X is not defined", "severity": "error", "target": "to_Item"},
        GENERIC,
    ]
    error = error_of(answer(400, v2(GENERIC["code"], "An exception was raised", details)), writing=True)
    assert (error.code, error.message, error.field) == ("V1/382", "Material X is not defined", "to_Item")


@pytest.mark.parametrize(
    "listed",
    [
        {"errordetail": {"code": "VL/045", "message": "busy", "severity": "error"}},
        {"errordetail": [{"code": "VL/045", "message": "busy", "severity": "error"}]},
        [{"code": "VL/045", "message": "busy", "severity": "error"}],
    ],
)
def test_details_converted_from_xml_are_read_too(listed: Any) -> None:
    assert type(error_of(answer(400, v2("VX/001", "no", listed)), writing=True)) is Unavailable


@pytest.mark.parametrize(
    "error", [{"code": "VP/196", "message": "plain words"}, {"code": "VP/196", "message": {"value": "plain words"}}]
)
def test_a_message_may_be_plain_text(error: dict[str, Any]) -> None:
    found = error_of(answer(400, {"error": error}), writing=True)
    assert (type(found), found.message) == (Refused, "plain words")


def test_an_xml_body_although_json_was_asked_for() -> None:
    body = b"""<?xml version="1.0"?><error xmlns="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata">
    <code>VP/196</code><message xml:lang="en">Payer 1 not maintained</message><innererror><transactionid>5E0F</transactionid>
    <errordetails><errordetail><code>VP/197</code><message>Bill-to 2</message><severity>error</severity><target>to_Partner</target>
    </errordetail></errordetails></innererror></error>"""
    error = error_of(answer(400, body, **{"content-type": "application/xml"}), writing=True)
    assert (type(error), error.code, error.field, error.details) == (
        Refused, "VP/196", "to_Partner", (("VP/197", "Bill-to 2"),),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AuthFailed),
        (403, AuthFailed),
        (502, DeliveryUnknown),
        (504, DeliveryUnknown),
        (503, Unavailable),
        (400, Refused),
    ],
)
@pytest.mark.parametrize(
    "body", [b"<html>Anmeldung</html>", b"", b"CSRF token validation failed", b"<!DOCTYPE x [<!ENTITY a 'b'>]><error/>"]
)
def test_what_is_no_odata_error_goes_by_its_status(status: int, kind: type[ConnectorError], body: bytes) -> None:
    for content in ("text/html", "application/xml", "application/json", "text/plain"):
        assert type(error_of(answer(status, body, **{"content-type": content}), writing=True)) is kind


def test_v4_bodies() -> None:
    body = {
        "error": {
            "code": "VP/196", "message": "Payer 1 not maintained", "target": "_Partner", "@SAP__common.ExceptionCategory": "Client_Error",
            "details": [
                {"code": "V1/555", "message": "late", "target": "_Item", "@SAP__common.Severity": "warning"},
                {"code": "VP/197", "message": "Bill-to", "target": "_Partner", "@SAP__common.Severity": "error"},
            ],
            "innererror": {"ErrorDetails": {"@SAP__common.TransactionId": "5E0F"}},
        }
    }  # fmt: skip
    error = error_of(answer(400, body), writing=True)
    assert (type(error), error.code, error.field, error.details) == (
        Refused, "VP/196", "_Partner", (("VP/197", "Bill-to"),),
    )  # fmt: skip


def test_the_log_entry_is_named_where_nothing_better_is_known() -> None:
    error = error_of(answer(400, v2("ZZ/123", "own check", [])), writing=True)
    assert "5E0F" in error.help


def test_a_tenant_s_own_lock_code() -> None:
    busy = answer(400, v2("ZZ/123", "busy", []))
    assert type(error_of(busy, writing=True)) is Refused
    assert type(error_of(busy, writing=True, lock_codes=["ZZ/123"])) is Unavailable


@pytest.mark.parametrize("header", ["120", "Wed, 21 Oct 2099 07:28:00 GMT"])
def test_both_forms_of_retry_after(header: str) -> None:
    error = error_of(
        answer(503, b"Service Not Available", **{"content-type": "text/plain", "retry-after": header}), writing=True
    )
    assert type(error) is Unavailable
    assert error.retry_after_secs is not None and error.retry_after_secs >= 120


def test_warnings_of_a_success() -> None:
    v2_header = {
        "code": "V4/233", "message": "Order 1 saved", "severity": "info",
        "details": [{"code": "V1/555", "message": "late", "severity": "warning", "target": "to_Item"}],
    }  # fmt: skip
    v4_header = [
        {"code": "V1/555", "message": "late", "numericSeverity": 3},
        {"code": "X", "message": "ok", "numericSeverity": 1},
    ]
    assert warnings(answer(201, {}, **{"sap-message": json.dumps(v2_header)})) == ("V1/555: late",)
    assert warnings(answer(201, {}, **{"sap-messages": json.dumps(v4_header)})) == ("V1/555: late",)
    for odd in ("", "no json", "null", "[1]", '{"details": 5}', "[[]]"):
        assert warnings(answer(201, {}, **{"sap-message": odd})) == ()


@pytest.mark.parametrize("body", [[], 5, "x", {"error": "text"}, {"error": {}}, {"error": {"message": None, "innererror": 5}},
                                  {"error": {"innererror": {"errordetails": [5, None, {"message": {"value": "v"}}]}}}])  # fmt: skip
def test_odd_bodies_do_not_upset_it(body: Any) -> None:
    assert isinstance(error_of(answer(400, body), writing=True), Refused)
