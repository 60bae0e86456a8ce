"""A check is trusted once it has been seen red: for each promise a twin of a good connector that breaks just that one."""

from __future__ import annotations

import pytest

from flowrun.testing.contract_suite import _all, broken
from tests.contract.broken.model import SUBJECT
from tests.contract.broken.twins import TWINS


def test_the_model_keeps_every_promise() -> None:
    assert broken(SUBJECT) == {}


def test_every_promise_has_a_twin_that_breaks_it() -> None:
    without = set(_all()) - {names[0] for _, names in TWINS.values()}
    assert not without


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_is_caught_by_the_check_it_was_made_for(name: str) -> None:
    twin, names = TWINS[name]
    assert set(broken(twin, names[:1])) == {names[0]}


@pytest.mark.soak
@pytest.mark.parametrize("name", TWINS)
def test_a_twin_is_caught_by_no_other_check(name: str) -> None:
    twin, names = TWINS[name]
    assert set(broken(twin)) == set(names)
