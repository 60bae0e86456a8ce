"""Numbers read the quick way are the numbers that the pattern of the language names; sums too."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flowrun.errors import DataError
from flowrun.expressions.filters_numbers import f_sum
from flowrun.expressions.jinja_rows import column
from flowrun.expressions.numbers import equal, exact_numbers, number, plain_decimal
from flowrun.expressions.runtime import Fuel

PLAIN = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?", re.ASCII)
TEXTS = (
    st.text(st.sampled_from("0129.+-eE_ \u00b2\u0663\u00a0Na,"), max_size=8)
    | st.text(max_size=5)
    | st.decimals(allow_nan=False, allow_infinity=False, places=3).map(str)
    | st.sampled_from(["9" * 40, "9" * 41 + ".5", "1" * 999, ".", "..", "1.2.3", "Infinity", "NaN", "\u0661.\u0662", "1.\u00b2"])
)  # fmt: skip
CELLS = TEXTS | st.integers(-9, 9) | st.decimals(-9, 9, places=2) | st.none() | st.booleans() | st.just([])


@given(TEXTS)
def test_plain_decimal_is_the_pattern(text: str) -> None:
    wanted = Decimal(text) if PLAIN.fullmatch(text) else None
    found = plain_decimal(text)
    assert str(found) == str(wanted)
    if wanted is not None:
        assert str(number(text)) == str(wanted)
        assert equal(text, wanted)
        assert equal(wanted, text)
        assert equal(text, 1) is equal(1, text) is (wanted == 1)


@given(st.lists(st.dictionaries(st.sampled_from(["a", "a.b", "0"]), CELLS, max_size=3) | CELLS, max_size=4),
       st.sampled_from(["a", "a.b", "0", "b"]), st.integers(-2, 2))  # fmt: skip
def test_sum_is_the_sum_of_the_column(rows: list[Any], name: str, start: int) -> None:
    def told(work: Any) -> Any:
        try:
            with exact_numbers():
                return repr(work())
        except DataError as error:
            return error.message

    wanted = told(lambda: sum([number(each, "sum") for each in column(rows, name, "sum")], start))
    fuel = Fuel()
    assert told(lambda: f_sum(fuel, rows, name, start)) == wanted


def test_a_sum_costs_what_its_rows_cost() -> None:
    fuel = Fuel()
    f_sum(fuel, [{"a": "1"}] * 10, "a")
    assert fuel.limit - fuel.left == 10
