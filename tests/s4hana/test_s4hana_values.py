"""Values between flowrun and OData: days that never shift, exact decimals, literals that nothing escapes from."""

from __future__ import annotations

import os
import time
from datetime import date
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrun.contract import Field, Shape
from flowrun.errors import ConnectorError, Refused
from flowrun_connectors._odata.address import MOST_CHARACTERS, conditions, follow, query
from flowrun_connectors._odata.edmx import Metadata
from flowrun_connectors._odata.values import from_wire, key_path, literal, to_wire
from flowrun_connectors.s4hana.objects import shape
from flowrun_connectors.s4hana.simulator.filters import compile_filter

DAY, MOMENT, TEXT = Field("D", "date"), Field("M", "datetime"), Field("T", "text")
V2 = Shape(
    "X",
    {
        f.name: f
        for f in (
            DAY,
            MOMENT,
            TEXT,
            Field("N", "decimal"),
            Field("C", "time"),
            Field("B", "boolean"),
            Field("I", "integer"),
        )
    },
    text_numbers=True,
)
V4 = Shape("X", V2.fields)


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago", "America/New_York"])
def test_a_day_is_the_same_day_wherever_we_run(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        for day in ("2026-01-01", "1969-12-31", "9999-12-31", "1900-01-01", "2026-03-29"):
            sent = to_wire({"D": day}, V2, v4=False)
            assert from_wire(sent, V2) == {"D": day}, sent
        assert to_wire({"D": "2026-05-04"}, V2, v4=False) == {"D": "/Date(1777852800000)/"}
    finally:
        monkeypatch.undo()
        os.environ.setdefault("TZ", "UTC")
        time.tzset()


@given(st.dates(date(1, 1, 1), date(9999, 12, 31)))
def test_every_day_survives_the_round(day: date) -> None:
    text = day.isoformat()
    assert from_wire(to_wire({"D": text}, V2, v4=False), V2) == {"D": text}


def test_the_offset_of_a_moment_is_for_display_only() -> None:
    wire = {"M": "/Date(1552895997855+0120)/"}
    assert from_wire(wire, V2) == {"M": "2019-03-18T07:59:57.855Z"}
    assert from_wire({"M": "/Date(-2208988800000)/", "D": None}, V2) == {"M": "1900-01-01T00:00:00.000Z", "D": None}


def test_moments_sort_as_text() -> None:
    found = [from_wire({"M": f"/Date({ms})/"}, V2)["M"] for ms in (1552895997000, 1552895997001, 1552895998000)]
    assert found == sorted(found)


def test_a_text_that_looks_like_a_date_stays_a_text() -> None:
    assert from_wire({"T": "/Date(0)/"}, V2) == {"T": "/Date(0)/"}


def test_decimals_keep_every_digit_on_the_way_out() -> None:
    assert to_wire({"N": Decimal("1E+3")}, V2, v4=False) == {"N": "1000"}
    assert to_wire({"N": Decimal("0.10")}, V2, v4=False) == {"N": "0.10"}
    assert to_wire({"N": "12345678901234567890.123"}, V4, v4=True) == {"N": "12345678901234567890.123"}
    assert to_wire({"N": 7}, V2, v4=False) == {"N": "7"}


def test_a_record_holds_decimals_as_its_contract_says() -> None:
    assert from_wire({"N": "52.650"}, V2) == {"N": "52.650"}
    assert from_wire({"N": Decimal("52.650")}, V4) == {"N": Decimal("52.650")}
    found = from_wire({"N": "52.650"}, V4)["N"]
    assert (type(found), str(found)) == (Decimal, "52.650")


def test_times_and_empty_days() -> None:
    assert from_wire({"C": "PT15H51M04S"}, V2) == {"C": "15:51:04"}
    assert to_wire({"C": "15:51:04", "D": "", "M": None, "T": ""}, V2, v4=False) == {
        "C": "PT15H51M04S", "D": None, "M": None, "T": "",
    }  # fmt: skip
    with pytest.raises(Refused) as caught:
        to_wire({"D": "next Tuesday"}, V2, v4=False)
    assert caught.value.field == "D"


def test_envelopes_links_and_annotations_are_taken_off() -> None:
    wire = {
        "__metadata": {"etag": "x"}, "SalesOrder": "1", "to_Text": {"__deferred": {"uri": "…"}}, "YY1_Custom": {"results": [1]},
        "to_Item": {"results": [{"__metadata": {}, "Material": "TG11", "to_PricingElement": {"results": []}}]},
    }  # fmt: skip
    assert from_wire(wire, shape("A_SalesOrder")) == {
        "SalesOrder": "1", "YY1_Custom": [1], "to_Item": [{"Material": "TG11", "to_PricingElement": []}],
    }  # fmt: skip
    v4 = {
        "@odata.etag": "x",
        "SalesOrder": "1",
        "SAP__Messages": [],
        "_Item@odata.context": "…",
        "_Item": [{"Product": "TG11"}],
    }
    assert from_wire(v4, shape("SalesOrder")) == {"SalesOrder": "1", "_Item": [{"Product": "TG11"}]}


def test_lists_are_wrapped_for_v2_and_plain_for_v4() -> None:
    body = {"to_Item": [{"Material": "A", "to_Text": []}]}
    assert to_wire(body, shape("A_SalesOrder"), v4=False) == {
        "to_Item": {"results": [{"Material": "A", "to_Text": {"results": []}}]}
    }
    assert to_wire({"_Item": [{"Product": "A"}]}, shape("SalesOrder"), v4=True) == {"_Item": [{"Product": "A"}]}


# -- literals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "field", "v2", "v4"),
    [
        ("O'Neil", TEXT, "'O''Neil'", "'O''Neil'"),
        ("2026-05-04", DAY, "datetime'2026-05-04T00:00:00'", "2026-05-04"),
        ("2026-05-04T08:00:00Z", MOMENT, "datetimeoffset'2026-05-04T08:00:00Z'", "2026-05-04T08:00:00Z"),
        ("2026-05-04T10:00:00+02:00", MOMENT, "datetimeoffset'2026-05-04T08:00:00Z'", "2026-05-04T08:00:00Z"),
        ("2026-05-04T08:00:00.1234567Z", MOMENT, "datetimeoffset'2026-05-04T08:00:00.1234567Z'", "2026-05-04T08:00:00.1234567Z"),
        (Decimal("1E+2"), Field("N", "decimal"), "100M", "100"),
        ("true", Field("B", "boolean"), "true", "true"),
        (5, Field("I", "integer"), "5", "5"),
        ("15:51:04", Field("C", "time"), "time'PT15H51M04S'", "15:51:04"),
    ],
)  # fmt: skip
def test_literals(value: Any, field: Field, v2: str, v4: str) -> None:
    assert (literal(value, field, v4=False), literal(value, field, v4=True)) == (v2, v4)


@pytest.mark.parametrize("kind", ["integer", "decimal", "boolean", "date", "datetime", "time"])
@pytest.mark.parametrize(
    "evil", ["1 or true", "true or 1 eq 1", "2026-05-04' or D ge datetime'1900-01-01", "", "NaN", "Infinity"]
)
def test_nothing_but_a_value_passes_where_there_are_no_quotes(kind: Any, evil: str) -> None:
    for v4 in (False, True):
        with pytest.raises(Refused):
            literal(evil, Field("F", kind), v4=v4)


@pytest.mark.parametrize("evil", ["a\r\nb", "a\x00", "\x7f"])
def test_control_characters_are_refused(evil: str) -> None:
    with pytest.raises(Refused):
        literal(evil, TEXT, v4=False)


@given(
    st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=["Cs", "Cc"]), max_size=30)
)
def test_a_text_is_found_by_its_literal_and_nothing_else_is(text: str) -> None:
    """Through the address and back, read by a parser that was written apart from the writer."""
    for v4 in (False, True):
        address = "x" + query({"$filter": f"T eq {literal(text, TEXT, v4=v4)}", "$top": "5"})
        found = parse_qs(urlsplit(address).query, keep_blank_values=True, strict_parsing=True)
        assert set(found) == {"$filter", "$top"}
        test = compile_filter(found["$filter"][0], V2, v4)
        assert test({"T": text})
        assert not test({"T": text + "x"})


def test_a_key_stays_one_segment_of_the_path() -> None:
    path = key_path("A_Product", {"Product": "A/1?#%2f'&+ü"}, None, v4=False)
    assert path.count("/") == 0 and "?" not in path and "#" not in path
    assert unquote(path) == "A_Product('A/1?#%2f''&+ü')"
    both = key_path("A_SalesOrderItem", {"SalesOrder": "164", "SalesOrderItem": "10"}, None, v4=False)
    assert both == "A_SalesOrderItem(SalesOrder='164',SalesOrderItem='10')"


def test_a_property_name_is_a_name() -> None:
    with pytest.raises(Refused):
        list(conditions([], {"A eq 1 or B": "x"}, None, v4=False))


# -- long lists ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 3, 500])
def test_a_long_list_is_split_and_asks_for_each_value_once(count: int) -> None:
    values = [f"MATERIAL '{n:05}" for n in range(count)]
    texts = list(conditions(["A ge 'x'"], {"T": values, "Plant": "1710"}, None, v4=False))
    assert all(len(query({"$filter": text})) < MOST_CHARACTERS + 20 for text in texts)
    contract = Shape("X", {n: Field(n, "text") for n in ("A", "T", "Plant")})
    tests = [compile_filter(text, contract, False) for text in texts]
    for value in values:
        assert sum(test({"A": "z", "T": value, "Plant": "1710"}) for test in tests) == 1, value
    assert not any(test({"A": "z", "T": "other", "Plant": "1710"}) for test in tests)
    assert not any(test({"A": "z", "T": value, "Plant": "1720"}) for test in tests for value in values[:2])


def test_two_long_lists_meet_in_every_pair() -> None:
    left, right = [f"L{n:04}" * 4 for n in range(200)], [f"R{n:04}" * 4 for n in range(300)]
    texts = list(conditions([], {"A": left, "B": right}, None, v4=False))
    assert all(len(query({"$filter": text})) < MOST_CHARACTERS + 20 for text in texts)
    contract = Shape("X", {n: Field(n, "text") for n in "AB"})
    tests = [compile_filter(text, contract, False) for text in texts]
    for a, b in [(left[0], right[0]), (left[199], right[299]), (left[77], right[123])]:
        assert sum(test({"A": a, "B": b}) for test in tests) == 1


# -- next links ----------------------------------------------------------------------------------------------------

ROOT = "sap/opu/odata/sap/API_SALES_ORDER_SRV/"


@pytest.mark.parametrize(
    "link",
    [
        f"https://internal.example:44300/{ROOT}A_SalesOrder?$skiptoken=20",
        f"https://internal.example:44300/other/prefix/{ROOT}A_SalesOrder?$skiptoken=20",
        "A_SalesOrder?$skiptoken=20",
        f"/{ROOT}A_SalesOrder?$skiptoken=20&sap-client=100",
    ],
)
def test_a_next_link_leads_to_our_own_host(link: str) -> None:
    assert follow(link, ROOT, drop=("sap-client",)) == f"{ROOT}A_SalesOrder?$skiptoken=20"


@pytest.mark.parametrize(
    "link",
    [
        "http://169.254.169.254/latest/meta-data", "//evil.example/x", f"/{ROOT}../../../admin", "/sap/opu/odata/sap/OTHER/Set",
        f"/{ROOT}%2e%2e/%2E./x", f"/{ROOT}%252e%252e/x",
        f"https://h/{ROOT}/evil.example", "https://h/",
    ],
)  # fmt: skip
def test_a_next_link_does_not_leave_the_service(link: str) -> None:
    with pytest.raises(ConnectorError):
        follow(link, ROOT)


# -- metadata ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "xml",
    [
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><Edmx/>',
        b"<!DOCTYPE lolz SYSTEM 'file:///etc/passwd'><Edmx/>",
        '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x><Edmx/>'.encode("utf-16"),
        b"<html><body>Logon</body></html>", b"", b"not xml", b"<Edmx>",
    ],
)  # fmt: skip
def test_metadata_that_is_none_is_refused(xml: bytes) -> None:
    with pytest.raises(ConnectorError):
        Metadata(xml, "x")


def test_metadata_facts_of_v2() -> None:
    xml = b"""<edmx:Edmx Version="1.0" xmlns:edmx="e" xmlns:sap="http://www.sap.com/Protocols/SAPData"><Schema Namespace="N">
      <EntityType Name="AType"><Key><PropertyRef Name="K"/></Key>
        <Property Name="K" Type="Edm.String" MaxLength="10" Nullable="false"/>
        <Property Name="Amount" Type="Edm.Decimal" Precision="16" Scale="3" sap:creatable="false"/>
        <Property Name="Day" Type="Edm.DateTime" Precision="0" sap:display-format="Date"/>
        <Property Name="ChangeDate" Type="Edm.DateTime" Precision="7"/>
        <Property Name="At" Type="Edm.DateTimeOffset" Precision="7" sap:updatable="false"/>
        <NavigationProperty Name="to_B" Relationship="N.AB" FromRole="a" ToRole="b"/></EntityType>
      <EntityType Name="BType"><Property Name="X" Type="Edm.Boolean"/>
        <NavigationProperty Name="to_A" Relationship="N.AB" FromRole="b" ToRole="a"/></EntityType>
      <Association Name="AB"><End Role="a" Type="N.AType" Multiplicity="1"/><End Role="b" Type="N.BType" Multiplicity="*"/></Association>
      <EntityContainer Name="C"><EntitySet Name="A" EntityType="N.AType"/></EntityContainer></Schema></edmx:Edmx>"""
    metadata = Metadata(xml, "test")
    found = metadata.shape("A")
    assert [(f.name, f.type) for f in found.fields.values()] == [
        ("K", "text"), ("Amount", "decimal"), ("Day", "date"), ("ChangeDate", "date"), ("At", "datetime"), ("to_B", "list"),
    ]  # fmt: skip
    assert found.text_numbers and found.fields["K"].key and not found.fields["K"].updatable
    assert (found.fields["Amount"].scale, found.fields["Amount"].creatable) == (3, False)
    below = found.fields["to_B"].item
    assert below is not None and below.shape is not None and list(below.shape.fields) == ["X"], "no way back up"
    with pytest.raises(ConnectorError) as caught:
        metadata.shape("Nope")
    assert "A" in caught.value.help


def test_the_day_that_means_never_and_one_beyond_it() -> None:
    assert from_wire({"D": "/Date(253402214400000)/"}, V2) == {"D": "9999-12-31"}
    assert from_wire({"D": "/Date(99999999999999999)/"}, V2) == {"D": "/Date(99999999999999999)/"}


@pytest.mark.parametrize("v4", [False, True])
@pytest.mark.parametrize(
    ("kind", "value", "sent"),
    [
        ("text", 17100001, "17100001"), ("text", Decimal("10"), "10"), ("decimal", 2, "2"), ("decimal", Decimal("1E+3"), "1000"),
        ("integer", Decimal("3"), 3), ("integer", 3, 3), ("boolean", True, True), ("text", "00123", "00123"),
    ],
)  # fmt: skip
def test_numbers_are_sent_as_their_field_is(v4: bool, kind: Any, value: Any, sent: Any) -> None:
    """A JSON number for an Edm.String is refused by Gateway, and a text for an Edm.Int32."""
    found = to_wire({"F": value}, Shape("X", {"F": Field("F", kind)}), v4=v4)
    assert found == {"F": sent}
    assert type(found["F"]) is type(sent)


def test_a_part_of_a_whole_number_is_refused() -> None:
    with pytest.raises(Refused) as told:
        to_wire({"F": Decimal("1.5")}, Shape("X", {"F": Field("F", "integer")}), v4=False)
    assert told.value.field == "F"
