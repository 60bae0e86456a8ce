"""Every converter: its own examples, its refusals, and what must hold for any value."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrun.contract import Field
from flowrun.errors import DataError, ExpressionError
from flowrun.expressions.converters import CONVERTERS, check_call, converter, parse_call
from flowrun.expressions.to_contract import fitter
from flowrun.values import Secret


def convert(call: str, value: Any) -> Any:
    name, args = parse_call(call)
    check_call(name, args, CONVERTERS)
    return converter(name, args)(value)


@pytest.mark.parametrize("name", sorted(CONVERTERS))
def test_its_own_examples(name: str) -> None:
    assert CONVERTERS[name].examples
    for args, given_, wanted in CONVERTERS[name].examples:
        result = converter(name, args)(given_)
        assert result == wanted and type(result) is type(wanted)


@pytest.mark.parametrize(
    ("call", "value", "wanted"),
    [
        ("truncate 2", "e\u0301e\u0301e\u0301", "e\u0301e\u0301"),
        ("truncate 1", "👨‍👩‍👧x", "👨‍👩‍👧"),
        ("truncate 1", "🇩🇪🇫🇷", "🇩🇪"),
        ("truncate 40", "Mug", "Mug"),
        ("alpha 10", "17100001", "0017100001"),
        ("alpha 10", "00TG11", "00TG11"),
        ("word 2", "Ann", ""),
        ("replace 'a b' c", "a b!", "c!"),
        ("replace - ''", "a-b", "ab"),
        ("integer", "12.0", 12),
        ("decimal 3", "2", Decimal("2.000")),
        ("decimal 2 half_up", "10.005", Decimal("10.01")),
        ("decimal 2 half_even", "10.005", Decimal("10.00")),
        ("decimal 0 down", "12.9", Decimal("12")),
        ("not_below 0", Decimal("-2.50"), Decimal("0.00")),
        ("date unix America/New_York", 1777888800, date(2026, 5, 4)),
        ("date unix America/New_York", 1777863600, date(2026, 5, 3)),
        ("date", "2026-05-04", date(2026, 5, 4)),
        ("datetime", "2024-06-19T22:54:28+0000", datetime(2024, 6, 19, 22, 54, 28, tzinfo=UTC)),
        ("datetime '%m/%d/%Y %H:%M:%S' America/New_York", "07/01/2026 12:00:00", datetime(2026, 7, 1, 16, tzinfo=UTC)),
        ("datetime unix_ms", "1777888800500", datetime(2026, 5, 4, 10, 0, 0, 500000, tzinfo=UTC)),
        ("date Europe/Berlin", "2026-05-03T23:30:00Z", date(2026, 5, 4)),
        ("date Asia/Tokyo", datetime(2026, 5, 4, 20, tzinfo=UTC), date(2026, 5, 5)),
        ("date", date(2026, 5, 4), date(2026, 5, 4)),
        ("datetime", datetime(2026, 5, 4, 20, tzinfo=UTC), datetime(2026, 5, 4, 20, tzinfo=UTC)),
        ("time Asia/Tokyo", datetime(2026, 5, 4, 20, tzinfo=UTC), time(5, 0)),
        ("time", time(10, 30), time(10, 30)),
        ("time", "2026-05-04T10:30:00Z", time(10, 30)),
        ("boolean yes no", "no", False),
        ("unjson", '{"a":1.10}', {"a": Decimal("1.10")}),
    ],
)  # fmt: skip
def test_what_it_gives(call: str, value: Any, wanted: Any) -> None:
    assert convert(call, value) == wanted


@pytest.mark.parametrize(
    ("call", "value", "words"),
    [
        ("integer", "1.5", "not a whole number"),
        ("integer", "x", "'x' is not a number"),
        ("integer", True, "not a boolean"),
        ("decimal 2", "1.005", "more than 2 digits"),
        ("decimal 2", "1,005.00", "is not a number"),
        ("datetime", "2026-05-04T10:00:00", "names no time zone"),
        ("date unix", 1777888800, "different days"),
        ("datetime iso America/New_York", "2026-03-08T02:30:00", "does not exist"),
        ("datetime iso America/New_York", "2026-11-01T01:30:00", "happens twice"),
        ("date '%m/%d/%Y'", "2026-05-04", "not in the form"),
        ("datetime unix", 10**18, "unix or unix_ms"),
        ("boolean Y N", "maybe", "neither 'Y' nor 'N'"),
        ("upper", ["a"], "takes text, not a list"),
        ("text", {"a": 1}, "text cannot be made of an object"),
        ("unjson", "{", "is not JSON"),
    ],
)
def test_what_it_refuses(call: str, value: Any, words: str) -> None:
    with pytest.raises(DataError) as caught:
        convert(call, value)
    assert words in caught.value.message + caught.value.help


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        ("uper", "FR120", "did you mean 'upper'?"),
        ("truncate", "FR121", "truncate n"),
        ("truncate x", "FR121", "whole number"),
        ("truncate 99999999999", "FR121", "1 to 1000"),
        ("decimal 2 up", "FR121", "half_up"),
        ("trim 3", "FR121", "trim"),
        ("date unix Amerika/New_York", "FR121", "no time zone"),
        ("date '%Q'", "FR121", "bad directive"),
        ("date '%m/%d/'  '%Y", "FR121", "quote"),
        ("date '%d/%d'", "FR121", "one part twice"),
        ("replace 'a", "FR121", "quote"),
        ("", "FR121", "missing"),
    ],
)
def test_what_the_checker_says(call: str, code: str, words: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        check_call(*parse_call(call), CONVERTERS)
    assert caught.value.code == code
    assert words in caught.value.message + caught.value.help


@given(st.text(max_size=60), st.integers(1, 70))
def test_truncate_is_never_longer_and_always_a_beginning(text: str, count: int) -> None:
    result = convert(f"truncate {count}", text)
    assert text.startswith(result)
    assert convert(f"truncate {count}", result) == result
    assert len(result) == len(text) or len(result) >= count


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12), st.integers(0, 6))
def test_rounding_twice_is_rounding_once(number: Decimal, digits: int) -> None:
    once = convert(f"decimal {digits} half_up", number)
    assert convert(f"decimal {digits}", once) == once


@pytest.mark.parametrize("name", sorted(CONVERTERS))
def test_no_converter_shows_a_secret(name: str) -> None:
    args = {"truncate": ("5",), "pad": ("5",), "alpha": ("5",), "replace": ("a", "b"), "word": ("1",), "before": ("x",),
            "after": ("x",), "decimal": ("2",), "not_below": ("0",), "not_above": ("0",)}.get(name, ())  # fmt: skip
    try:
        result = repr(converter(name, args)(Secret("canary-7f3a")))
    except DataError as error:
        result = error.message + error.help
    assert "canary" not in result


@pytest.mark.parametrize(
    ("field", "text_numbers", "value", "wanted"),
    [
        (Field("F", "text", max_length=3), False, 12, "12"),
        (Field("F", "decimal", scale=3), True, "2.0", "2.0"),
        (Field("F", "decimal", scale=2), False, Decimal("1.10"), Decimal("1.10")),
        (Field("F", "integer"), False, "12", 12),
        (Field("F", "date"), False, date(2026, 5, 4), "2026-05-04"),
        (Field("F", "datetime"), False, "2026-05-04T12:00:00+02:00", "2026-05-04T10:00:00Z"),
        (Field("F", "boolean"), False, "true", True),
    ],
)
def test_the_contract_takes(field: Field, text_numbers: bool, value: Any, wanted: Any) -> None:
    fit = fitter(field, text_numbers)
    assert fit is not None
    assert fit(value) == wanted


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (Field("F", "text", max_length=3), "abcd", "has 4 characters; F takes 3"),
        (Field("F", "text", enum=("A", "B")), "C", "not one of A, B"),
        (Field("F", "decimal", scale=2), "1.005", "3 digits after the point; F takes 2"),
        (Field("F", "decimal", precision=5, scale=2), "1000", "too large"),
        (Field("F", "integer"), "1.5", "not a whole number"),
        (Field("F", "date"), datetime(2026, 5, 4, tzinfo=UTC), "takes a day"),
        (Field("F", "list"), "a", "takes a list"),
    ],
)
def test_the_contract_refuses(field: Field, value: Any, words: str) -> None:
    fit = fitter(field, False)
    assert fit is not None
    with pytest.raises(DataError) as caught:
        fit(value)
    assert words in caught.value.message
