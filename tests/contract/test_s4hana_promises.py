"""The promises of the S/4HANA connector are kept, and a twin that breaks one is caught by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from typing import Any
from unittest import mock
from urllib.parse import quote

import httpx
import pytest

from flowrun.errors import AuthFailed, ConnectorError, NotFound, Refused, Unavailable
from flowrun_connectors._http.errors import from_exception
from flowrun_connectors._odata import paging, values
from flowrun_connectors.s4hana import codes, reading, session, writing
from flowrun_connectors.s4hana.connector import S4Hana
from tests.contract import s4hana_promises as promises
from tests.contract.s4hana_promises import PROMISES, Promise


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_the_connector_keeps(promise: Promise) -> None:
    promise(S4Hana)


# -- twins: each breaks one thing ------------------------------------------------------------------------------------


def patched(where: Any, name: str, broken: Any) -> AbstractContextManager[Any]:
    return mock.patch.object(where, name, broken)


def no_renewal() -> AbstractContextManager[Any]:
    return patched(session, "_asks_for_token", lambda response: False)


def renews_on_any_403() -> AbstractContextManager[Any]:
    return patched(session, "_asks_for_token", lambda response: response.status_code == 403)


@contextmanager
def a_token_for_each_write() -> Iterator[None]:
    real = session.Session.held

    def held(self: Any, root: str, *, stale: Any = None) -> Any:
        return real(self, root, stale=self._held)

    with patched(session.Session, "held", held):
        yield


@contextmanager
def tries_again_after_401() -> Iterator[None]:
    real = session.Session._send

    def send(self: Any, *args: Any) -> Any:
        found = real(self, *args)
        return real(self, *args) if found.status_code == 401 else found

    with patched(session.Session, "_send", send):
        yield


@contextmanager
def always_overwrites() -> Iterator[None]:
    real = writing.Writer.__init__

    def init(self: Any, *args: Any, overwrite: bool) -> None:
        real(self, *args, overwrite=True)

    with patched(writing.Writer, "__init__", init):
        yield


def sends_equal_values() -> AbstractContextManager[Any]:
    return patched(writing, "_equal", lambda *_: False)


def calls_a_lost_answer_unavailable() -> AbstractContextManager[Any]:
    return patched(session, "from_exception", lambda error, *, writing: from_exception(error, writing=False))


def takes_garbage_for_a_refusal() -> AbstractContextManager[Any]:
    return patched(writing, "DeliveryUnknown", Refused)


def calls_everything_unknown() -> AbstractContextManager[Any]:
    return patched(
        session, "from_exception", lambda error, *, writing: from_exception(httpx.ReadError(""), writing=True)
    )


def a_day_by_local_time() -> AbstractContextManager[Any]:
    def millis(text: str) -> int:
        return int(
            (datetime.fromisoformat(text[:10]) - timedelta(hours=2) - datetime(1970, 1, 1)) / timedelta(milliseconds=1)
        )

    return patched(values, "to_millis", millis)


def numbers_for_decimals() -> AbstractContextManager[Any]:
    real = values._field_to_wire

    def broken(value: Any, field: Any, name: str, v4: bool) -> Any:
        found = real(value, field, name, v4)
        return float(found) if field is not None and field.type == "decimal" else found

    return patched(values, "_field_to_wire", broken)


def quotes_left_single() -> AbstractContextManager[Any]:
    return patched(reading, "literal", lambda value, field, *, v4: f"'{value}'")


def plus_for_a_blank() -> AbstractContextManager[Any]:
    """A plus sign that is not encoded is read back as a blank."""
    return patched(
        reading, "query", lambda options: "?" + "&".join(f"{k}={quote(v, safe='+$')}" for k, v in options.items() if v)
    )


@contextmanager
def only_the_first_page_of_a_search() -> Iterator[None]:
    real = reading.Reader.matching

    def matching(self: Any, object: str, by: Any) -> Any:
        return real(self, object, by)[:2]

    with patched(reading.Reader, "matching", matching):
        yield


def skips_without_looking() -> AbstractContextManager[Any]:
    def walk(way: paging.Walk, since: str | None) -> Iterator[list[Any]]:
        skip = 0
        while True:
            page = way.ask(since, skip)
            if page.records:
                yield list(page.records)
            if len(page.records) < way.top:
                return
            skip += len(page.records)

    return patched(reading, "walk", walk)


def follows_links_wherever_they_lead() -> AbstractContextManager[Any]:
    return patched(reading, "follow", lambda link, root, drop: link)


def ignores_links() -> AbstractContextManager[Any]:
    real = reading._collection
    return patched(reading, "_collection", lambda body, v4: (real(body, v4)[0], ""))


def keeps_envelopes() -> AbstractContextManager[Any]:
    return patched(writing, "from_wire", lambda value, shape: value)


def takes_the_first_line_of_the_details() -> AbstractContextManager[Any]:
    def broken(response: httpx.Response, *, writing: bool, lock_codes: Any = ()) -> ConnectorError:
        error = codes.error_of(response, writing=writing)
        error.details = (("V1/555", "Some earlier warning"),)
        return error

    return patched(session, "error_of", broken)


def a_lock_is_final() -> AbstractContextManager[Any]:
    return patched(codes, "_is_lock", lambda *_: False)


Twin = Callable[[], AbstractContextManager[Any]]
BREAKS: list[tuple[Twin, Promise]] = [
    (no_renewal, promises.an_expired_session_costs_one_repeat),
    (renews_on_any_403, promises.a_missing_authorisation_is_not_a_missing_token),
    (a_token_for_each_write, promises.a_token_is_fetched_once_per_session),
    (tries_again_after_401, promises.a_wrong_password_is_tried_once),
    (always_overwrites, promises.what_changed_meanwhile_is_not_overwritten),
    (sends_equal_values, promises.an_equal_update_sends_nothing),
    (calls_a_lost_answer_unavailable, promises.a_lost_answer_is_an_unknown_outcome),
    (takes_garbage_for_a_refusal, promises.a_lost_answer_is_an_unknown_outcome),
    (calls_everything_unknown, promises.what_never_left_is_only_unavailable),
    (a_day_by_local_time, promises.days_and_decimals_arrive_as_written),
    (numbers_for_decimals, promises.days_and_decimals_arrive_as_written),
    (quotes_left_single, promises.a_search_finds_only_what_it_asks_for),
    (plus_for_a_blank, promises.a_search_finds_only_what_it_asks_for),
    (only_the_first_page_of_a_search, promises.several_with_one_reference_are_all_found),
    (skips_without_looking, promises.a_change_between_pages_loses_nothing),
    (follows_links_wherever_they_lead, promises.a_foreign_next_link_is_read_from_our_own_host),
    (ignores_links, promises.a_foreign_next_link_is_read_from_our_own_host),
    (keeps_envelopes, promises.deep_items_come_back_as_plain_lists),
    (takes_the_first_line_of_the_details, promises.a_refusal_has_sap_s_code_words_and_field),
    (a_lock_is_final, promises.a_locked_document_is_tried_again_later),
]


@pytest.mark.parametrize(("twin", "promise"), BREAKS, ids=lambda one: one.__name__)
def test_a_broken_twin_is_caught(twin: Twin, promise: Promise) -> None:
    with twin(), pytest.raises((AssertionError, ConnectorError, AttributeError, KeyError)):
        promise(S4Hana)


def test_every_promise_has_been_seen_broken() -> None:
    assert {promise for _, promise in BREAKS} == set(PROMISES)


def test_the_classes_that_can_be_raised_are_declared() -> None:
    for kind in (AuthFailed, NotFound, Refused, Unavailable):
        assert kind.error_class in S4Hana.error_classes
