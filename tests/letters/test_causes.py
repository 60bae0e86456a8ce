"""One cause, one id: whatever the keys, values and numbers of its letters."""

from __future__ import annotations

from typing import Any

import pytest

from flowrun.store import Row
from flowrun.store.causes import cause_id, clusters


def letter(seq: int, message: str, *, key: str = "", **more: Any) -> Row:
    values: dict[str, Any] = dict.fromkeys(Row.__slots__)
    values.update(
        seq=seq, flow="f", key=key or str(seq), state="dead", payload={}, error_class="bad_data", error_field="A",
        error_message=message, changed_at=float(seq), received_at=0.0, attempts=0, edited=False, lane_id=0, lane="",
    )  # fmt: skip
    return Row(**{**values, **more})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("customers has no row for '77'", "customers has no row for 'ACME'"),
        ("order abc is gone", "order xyz is gone"),
        ("V1/302: Customer 4711 is blocked", "V1/302: Customer 0815 is blocked"),
        ("2026-01-01T10:00:00Z is in the past", "2025-12-31T00:00:00Z is in the past"),
        ('"x y" is no number', '"z" is no number'),
    ],
)
def test_what_differs_from_letter_to_letter_is_no_cause(one: str, other: str) -> None:
    assert cause_id(letter(1, one, key="abc")) == cause_id(letter(2, other, key="xyz"))


@pytest.mark.parametrize(
    "more",
    [
        {"flow": "g"},
        {"error_class": "rejected"},
        {"error_field": "B"},
        {"error_message": "plants has no row for '77'"},
    ],
)
def test_flow_class_field_and_words_tell_causes_apart(more: dict[str, Any]) -> None:
    assert cause_id(letter(1, "customers has no row for '77'")) != cause_id(
        letter(2, "customers has no row for '77'", **more)
    )


def test_names_of_the_project_tell_causes_apart() -> None:
    assert cause_id(letter(1, "lookup 'a' circles")) != cause_id(letter(2, "lookup 'b' circles"))


def test_rows_of_a_list_are_one_place() -> None:
    one, other = (letter(n, "no", error_field=f"to_Item[{n}].Material") for n in (1, 12))
    assert cause_id(one) == cause_id(other)


def test_an_id_is_the_same_tomorrow() -> None:
    assert cause_id(letter(1, "customers has no row for '77'")) == "d9b530d0"


def test_the_largest_cause_comes_first_with_its_times_and_its_oldest_letter() -> None:
    found = clusters([letter(1, "alone"), letter(2, "no '1'"), letter(3, "no '2'")])
    assert [(len(one.rows), one.example.seq, one.first_at, one.last_at) for one in found] == [
        (2, 2, 2, 3),
        (1, 1, 1, 1),
    ]
