"""Twins of the model. Each breaks one promise, in a way that connectors have been seen to; ``TWINS`` says which checks
notice it: the first is the one it was made for, the others cannot help noticing too."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx

from flowrun.connector import Cursor, Event, Health, Item, ObjectInfo, Page, Query, Receipt, Record, Request, Verdict
from flowrun.credentials.schemes import ClientCredentials
from flowrun.errors import ConnectorError, DeliveryUnknown, RateLimited, Refused, SignatureInvalid, Unavailable
from flowrun.testing.contract_suite import Subject
from flowrun.tokens import Renewing, Troubles
from flowrun.tokens.grants import ByClientCredentials
from flowrun.values import Secret, system_clock
from flowrun_connectors._http.bodies import read_json
from flowrun_connectors.http.simulator import CLIENT_ID, CLIENT_SECRET
from tests.contract.broken.model import ORDERS, READ, Model, ModelSimulator, sign, subject


class CursorAhead(Model):
    """Every page already carries the cursor of the last."""

    def read(self, query: Query) -> Iterator[Page]:
        pages = list(super().read(query))
        for page in pages:
            yield Page(page.records, pages[-1].cursor)


class Unsteady(Model):
    """The order of records depends on the process."""

    made = 0

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        Unsteady.made += 1
        self.turned = Unsteady.made % 2 == 0

    def read(self, query: Query) -> Iterator[Page]:
        for page in super().read(query):
            yield Page(list(page.records)[:: -1 if self.turned else 1], page.cursor)


class ExclusiveCursor(Model):
    """Only what is later than the cursor: of two records in one second, one is lost."""

    def read(self, query: Query) -> Iterator[Page]:
        for page in super().read(query):
            after = query.since.value if query.since else ""
            yield Page([record for record in page.records if record["updated_at"] > after], page.cursor)


class PagesOfAMovingSet(Model):
    """Goes on to the next page of a list whose records have moved meanwhile."""

    def _what(self, object: str, verb: str) -> Mapping[str, Any]:
        found = super()._what(object, verb)
        return {**found, "sorted": False} if verb == "read" else found

    def read(self, query: Query) -> Iterator[Page]:
        for page in super().read(query):
            yield Page(page.records, Cursor(page.records[-1]["updated_at"]) if page.records else page.cursor)


class Unguarded(Model):
    """Follows every next page for ever."""

    def read(self, query: Query) -> Iterator[Page]:
        params = {"limit": str(query.page_size)}
        if query.since:
            params["updated_since"] = query.since.value
        while True:
            body = read_json(self._ask("GET", "v1/orders", writing=False, params=params))
            rows = body["data"]["items"]
            yield Page(rows, Cursor(rows[-1]["updated_at"]) if rows else None)
            if not body.get("next"):
                return
            params["cursor"] = body["next"]


class Rounding(Model):
    """Numbers pass through binary floats."""

    def read(self, query: Query) -> Iterator[Page]:
        for page in super().read(query):
            yield Page([json.loads(json.dumps(r, default=float)) for r in page.records], page.cursor)


class KnownFieldsOnly(Model):
    """Drops what it does not know."""

    def read(self, query: Query) -> Iterator[Page]:
        for page in super().read(query):
            yield Page([{k: v for k, v in r.items() if k in ORDERS["fields"]} for r in page.records], page.cursor)


class AnyRecord(Model):
    """Answers a question by key with whatever comes first."""

    def get(self, object: str, key: Mapping[str, Any], expand: Sequence[str] = ()) -> Record | None:
        return next(iter(self.read(Query(object)))).records[0]


class FindsNothing(Model):
    """Cannot find what it wrote."""

    def find(self, object: str, by: Mapping[str, Any]) -> Sequence[Receipt]:
        return []


class FindsAnything(Model):
    """Takes the first objects of the list for the one it looks for."""

    def find(self, object: str, by: Mapping[str, Any]) -> Sequence[Receipt]:
        return [Receipt(str(r["id"]), response=r) for page in self.read(Query(object)) for r in page.records]


class SilenceIsFailure(Model):
    """Takes a lost answer for a write that was not done."""

    def _deliver(self, item: Item) -> Verdict:
        verdict = super()._deliver(item)
        return Unavailable(verdict.message) if isinstance(verdict, DeliveryUnknown) else verdict


class GivesUp(Model):
    """After an unknown outcome it never sends that item again."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.unknown: set[str] = set()

    def _deliver(self, item: Item) -> Verdict:
        key = str(item.idempotency_key)
        verdict = Refused("was sent before") if key in self.unknown else super()._deliver(item)
        if isinstance(verdict, DeliveryUnknown):
            self.unknown.add(key)
        return verdict


class StopsAtTheFirst(Model):
    """One bad item, and the rest of the batch has no verdict."""

    def deliver(self, items: Sequence[Item]) -> Sequence[Verdict]:
        verdicts: list[Verdict] = []
        for item in items:
            verdicts.append(self._deliver(item))
            if not isinstance(verdicts[-1], Receipt):
                break
        return verdicts


class Mute(Model):
    """Says 'status 422' where the system gave a reason."""

    def _deliver(self, item: Item) -> Verdict:
        verdict = super()._deliver(item)
        return Refused(f"status {verdict.status}") if type(verdict) is Refused else verdict


class StrictAnswers(Model):
    """Breaks on an answer with a field that is new."""

    def _receipt(self, item: Item, what: Mapping[str, Any], response: httpx.Response) -> Receipt:
        receipt = super()._receipt(item, what, response)
        if set(receipt.response) - {"id", "updated_at", *item.body}:
            raise DeliveryUnknown("an answer with unknown fields")
        return receipt


class NoHurry(Model):
    """Takes 'too many requests' for an outage."""

    def read(self, query: Query) -> Iterator[Page]:
        try:
            yield from super().read(query)
        except RateLimited as error:
            raise Unavailable(error.message) from None


class ForgetsTheWait(Model):
    """Drops what Retry-After says."""

    def _deliver(self, item: Item) -> Verdict:
        verdict = super()._deliver(item)
        return RateLimited(verdict.message) if isinstance(verdict, RateLimited) else verdict


class AnythingGoes(Model):
    """A web page with status 200 is an empty list."""

    def read(self, query: Query) -> Iterator[Page]:
        try:
            yield from super().read(query)
        except Unavailable as error:
            if "the answer is" not in error.message:
                raise


class BlindToErrors(Model):
    """Status 200 is success, whatever the answer says."""

    def _receipt(self, item: Item, what: Mapping[str, Any], response: httpx.Response) -> Receipt:
        body = read_json(response, writing=True)
        return Receipt(str(body["order"].get("id", "?")), created=True, response=body["order"])


class Follower(Model):
    """Brings a client of its own, which follows redirects."""

    def __init__(self, settings: Any, http: httpx.Client, now: Any) -> None:
        own = httpx.Client(base_url=http.base_url, auth=http.auth, timeout=http.timeout, follow_redirects=True)
        http.close()
        super().__init__(settings, own, now)


class Stubborn(Model):
    """Tries again inside the call, and again."""

    def read(self, query: Query) -> Iterator[Page]:
        for left in range(14, -1, -1):
            try:
                yield from super().read(query)
                return
            except Unavailable as error:
                if "reached" not in error.message or not left:
                    raise


class OneTokenForEver(Model):
    """Asks for a token once, and never again."""

    @classmethod
    def auth(cls, settings: Any) -> httpx.Auth:
        scheme = ClientCredentials(f"{settings.base_url}/oauth/token", CLIENT_ID, Secret(CLIENT_SECRET))
        quiet = Troubles("model", lambda *_: None)
        return AskedOnce(
            "model", lambda _: ByClientCredentials(scheme), lambda: scheme, now=system_clock, troubles=quiet
        )


class AskedOnce(Renewing):
    def sync_auth_flow(self, request: httpx.Request) -> Any:
        live = self._live or self._renewed()
        request.headers["authorization"] = f"Bearer {live.token.access.reveal()}"
        yield request


class AlwaysWell(Model):
    def check(self) -> Health:
        return Health(True, "fine")


class ServerErrorsAreHarmless(Model):
    """Takes 500 to a write for 'nothing was done'."""

    def _deliver(self, item: Item) -> Verdict:
        verdict = super()._deliver(item)
        harmless = isinstance(verdict, DeliveryUnknown) and verdict.status == 500
        return Unavailable("status 500") if harmless else verdict


class AsksToDescribe(Model):
    """Fetches its contracts from the system."""

    @classmethod
    def describe(cls, object: str, settings: Mapping[str, Any]) -> Any:
        httpx.get(f"{settings['base_url']}/schema", timeout=0.2)
        return super().describe(object, settings)


class TwoFaces(Model):
    """Says one thing of all objects and another of one."""

    @classmethod
    def object_info(cls, object: str, settings: Mapping[str, Any]) -> ObjectInfo | None:
        info = super().object_info(object, settings)
        return replace(info, batch=50) if info else None


class OwnWords(Model):
    error_classes = frozenset({*Model.error_classes, "network_trouble"})


class Restless(Model):
    """A new event id each time, so a repeat is never recognised."""

    def parse(self, request: Request) -> Sequence[Event]:
        return [replace(event, id=os.urandom(8).hex()) for event in super().parse(request)]


class Timeless(Model):
    """Takes a webhook of any age."""

    def prove(self, request: Request) -> None:
        stamp = request.headers.get("x-timestamp", "")
        if stamp.isdigit() and len(stamp) < 12:
            request = replace(request, received_at=datetime.fromtimestamp(int(stamp), UTC))
        super().prove(request)


class Lenient(Model):
    """Looks at the beginning of the signature only."""

    def prove(self, request: Request) -> None:
        given = request.headers.get("x-signature", "")
        whole = _signature_of(request)
        if len(given) == len(whole) and given[:60] == whole[:60]:
            request = replace(request, headers={**request.headers, "x-signature": whole})
        super().prove(request)


def _signature_of(request: Request) -> str:
    return sign(request.body, request.headers.get("x-timestamp", ""))


class Trusting(Model):
    """Without a secret in its settings it takes everything."""

    def prove(self, request: Request) -> None:
        if self.settings.webhook_secret is not None:
            super().prove(request)


class Talkative(Model):
    """Tells an attacker which part was wrong."""

    def prove(self, request: Request) -> None:
        if not request.headers.get("x-timestamp", "").isdigit():
            raise SignatureInvalid("the timestamp is no number")
        super().prove(request)


class TripsOverBodies(Model):
    """Lets the parser's own exception out."""

    def parse(self, request: Request) -> Sequence[Event]:
        json.loads(request.body)
        return super().parse(request)


class ShowsItsToken(Model):
    """Prints the credentials when it is printed."""

    def __repr__(self) -> str:
        sent = next(self.http.auth.sync_auth_flow(self.http.build_request("GET", "/")))
        return f"Model({dict(sent.headers)})"


class TellsHeaders(Model):
    """Puts what it sent into the error."""

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            return super()._ask(method, path, **more)
        except ConnectorError as error:
            sent = next(self.http.auth.sync_auth_flow(self.http.build_request(method, path)))
            error.message += f"; sent {sent.headers.get('authorization')}"
            raise


PAGES = {"orders": {**ORDERS, "read": {**ORDERS["read"], "paging": {"style": "page"}}}}
MOVING = subject(
    PagesOfAMovingSet,
    simulator=lambda: ModelSimulator(PAGES),
    read=replace(READ, touch=lambda w, k: w.touch("orders", k)),
)
ENDING = subject(OneTokenForEver, simulator=lambda: ModelSimulator(oauth=True))

TWINS: dict[str, tuple[Subject, tuple[str, ...]]] = {
    "CursorAhead": (
        subject(CursorAhead),
        ("reading_from_any_cursor_loses_nothing", "records_of_one_moment_all_arrive"),
    ),
    "Unsteady": (subject(Unsteady), ("reading_twice_gives_the_same_keys",)),
    "ExclusiveCursor": (subject(ExclusiveCursor), ("records_of_one_moment_all_arrive",)),
    "PagesOfAMovingSet": (MOVING, ("a_record_that_changes_while_read_is_not_lost",)),
    "Unguarded": (subject(Unguarded), ("a_source_that_repeats_itself_is_noticed",)),
    "Rounding": (subject(Rounding), ("numbers_are_exact", "unknown_fields_survive")),
    "KnownFieldsOnly": (subject(KnownFieldsOnly), ("unknown_fields_survive",)),
    "AnyRecord": (subject(AnyRecord), ("one_record_by_its_key",)),
    "FindsNothing": (
        subject(FindsNothing),
        ("delivering_twice_leaves_one", "an_answer_lost_after_the_write_leaves_one", "what_is_not_there_is_not_found"),
    ),
    "FindsAnything": (
        subject(FindsAnything),
        (
            "what_is_not_there_is_not_found",
            "an_answer_lost_after_the_write_leaves_one",
            "a_request_lost_before_the_write_leaves_one",
        ),
    ),
    "SilenceIsFailure": (
        subject(SilenceIsFailure),
        ("an_answer_lost_after_the_write_leaves_one", "an_unknown_outcome_is_never_a_plain_failure"),
    ),
    "GivesUp": (subject(GivesUp), ("a_request_lost_before_the_write_leaves_one",)),
    "StopsAtTheFirst": (subject(StopsAtTheFirst), ("each_item_gets_its_verdict",)),
    "Mute": (subject(Mute), ("a_refusal_is_told_as_the_system_tells_it",)),
    "StrictAnswers": (subject(StrictAnswers), ("receipts_survive_new_fields",)),
    "NoHurry": (subject(NoHurry), ("failures_of_reading_get_the_right_class",)),
    "ForgetsTheWait": (subject(ForgetsTheWait), ("failures_of_writing_get_the_right_class",)),
    "AnythingGoes": (subject(AnythingGoes), ("what_is_no_answer_is_no_success",)),
    "BlindToErrors": (subject(BlindToErrors), ("an_error_inside_success_is_an_error",)),
    "Follower": (subject(Follower), ("redirects_are_not_followed", "calls_end_in_time")),
    "Stubborn": (subject(Stubborn), ("calls_end_in_time",)),
    "OneTokenForEver": (ENDING, ("expired_credentials_are_renewed_by_themselves",)),
    "AlwaysWell": (subject(AlwaysWell), ("the_health_check_tells",)),
    "ServerErrorsAreHarmless": (
        subject(ServerErrorsAreHarmless),
        ("an_unknown_outcome_is_never_a_plain_failure", "an_answer_lost_after_the_write_leaves_one"),
    ),
    "AsksToDescribe": (subject(AsksToDescribe), ("every_object_is_described_offline",)),
    "TwoFaces": (subject(TwoFaces), ("every_object_is_described_offline",)),
    "OwnWords": (subject(OwnWords), ("error_classes_and_events_are_declared",)),
    "Restless": (subject(Restless), ("a_genuine_webhook_becomes_events",)),
    "Timeless": (subject(Timeless), ("a_forged_webhook_keeps_nothing",)),
    "Lenient": (subject(Lenient), ("a_forged_webhook_keeps_nothing",)),
    "Trusting": (subject(Trusting), ("a_forged_webhook_keeps_nothing",)),
    "Talkative": (subject(Talkative), ("a_forged_webhook_keeps_nothing",)),
    "TripsOverBodies": (subject(TripsOverBodies), ("an_unreadable_webhook_is_refused",)),
    "ShowsItsToken": (subject(ShowsItsToken), ("no_secret_shows",)),
    "TellsHeaders": (subject(TellsHeaders), ("no_secret_shows",)),
}
