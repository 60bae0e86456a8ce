"""What the checks share: reading whole, delivering as the writer does, walking values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from flowrun.connector import Cursor, Item, Page, Query, Receipt, Verdict
from flowrun.errors import ConnectorError
from flowrun.testing.contract_suite import Reading, Receiving, Subject, Writing
from flowrun.testing.faults import Faults
from flowrun.testing.simulator import SimRequest, SimResponse, Simulator
from flowrun.values import decode_json, encode_json

MOST_PAGES = 60  # a read of a handful of records that gives more pages goes round in circles
NEW_FIELD = "x_flowrun_new"
NEW_VALUE = Decimal("0.1000000000000000055511151231257827")


def reads(subject: Subject) -> Reading:
    assert subject.read is not None, "the promise needs a source"
    return subject.read


def writes(subject: Subject) -> Writing:
    assert subject.write is not None, "the promise needs a target"
    return subject.write


def receives(subject: Subject) -> Receiving:
    assert subject.receive is not None, "the promise needs a receiver"
    return subject.receive


def simulated(world: Any) -> Simulator:
    assert isinstance(world, Simulator), "the promise needs faults"
    return world


def struck(world: Simulator, spec: str) -> Faults:
    """Faults from here on."""
    world.faults = Faults.parse(spec)
    return world.faults


def healed(world: Any) -> None:
    if isinstance(world, Simulator):
        world.faults = Faults()


# -- reading -------------------------------------------------------------------------------------------------------


def pages(connector: Any, how: Reading, since: Cursor | None = None) -> Iterator[Page]:
    """Raises AssertionError for a read that does not end."""
    query = Query(how.object, since, how.cursor, how.filter, (), how.page_size)
    for number, page in enumerate(connector.read(query)):
        assert number < MOST_PAGES, f"more than {MOST_PAGES} pages for {how.records} records"
        yield page


def records(connector: Any, how: Reading, since: Cursor | None = None) -> list[Mapping[str, Any]]:
    return [record for page in pages(connector, how, since) for record in page.records]


def keys(found: Sequence[Mapping[str, Any]], how: Reading) -> list[str]:
    missing = [record for record in found if record.get(how.key) in (None, "")]
    assert not missing, f"a record has no '{how.key}'"
    return [str(record[how.key]) for record in found]


def read_failure(connector: Any, how: Reading) -> ConnectorError:
    """The error that a read ends in. Raises AssertionError when it ends well, or in some other way."""
    try:
        found = records(connector, how)
    except ConnectorError as error:
        return error
    raise AssertionError(f"the read gave {len(found)} records as if nothing had happened")


# -- writing -------------------------------------------------------------------------------------------------------


def item(how: Writing, world: Any, n: int) -> Item:
    return Item(how.object, how.action, how.body(world, n), f"contract-{n}", how.match)


def deliver(connector: Any, one: Item) -> Verdict:
    verdicts = connector.deliver([one])
    assert len(verdicts) == 1, f"{len(verdicts)} verdicts for one item"
    verdict: Verdict = verdicts[0]
    assert isinstance(verdict, Receipt | ConnectorError), f"a verdict is a Receipt or an error, not {verdict!r}"
    return verdict


def written(connector: Any, one: Item) -> Receipt:
    verdict = deliver(connector, one)
    assert isinstance(verdict, Receipt), f"not delivered: {verdict!r} {getattr(verdict, 'details', '')}"
    return verdict


def settled(connector: Any, how: Writing, one: Item) -> Receipt:
    """As the writer settles what is in doubt: ask first, and send again only what is not there."""
    if how.find:
        found = connector.find(how.object, {name: one.body[name] for name in how.find})
        assert len(found) <= 1, f"find gives {len(found)} objects for one effect"
        if found:
            assert found[0].id, "find gives an object without its id"
            receipt: Receipt = found[0]
            return receipt
    return written(connector, one)


def once(subject: Subject, how: Writing) -> str:
    """How one effect stays one, as the class declares it."""
    info = subject.cls.object_info(how.object, _public(subject))
    assert info is not None, f"the class knows no object '{how.object}'"
    assert how.action in info.actions, f"the class does not declare '{how.action}' for {how.object}"
    kind: str = info.actions[how.action]
    return kind


def _public(subject: Subject) -> dict[str, Any]:
    return {**subject.simulator().connection_settings(), **subject.settings}


# -- values --------------------------------------------------------------------------------------------------------


def floats(value: Any, path: str = "") -> list[str]:
    """Paths of binary floats inside a value."""
    if isinstance(value, float):
        return [path or "the value"]
    if isinstance(value, Mapping):
        return [found for name, inner in value.items() for found in floats(inner, f"{path}.{name}".lstrip("."))]
    if isinstance(value, list | tuple):
        return [found for index, inner in enumerate(value) for found in floats(inner, f"{path}[{index}]")]
    return []


def with_new_fields(_request: SimRequest, answer: SimResponse) -> SimResponse:
    """The answer as next year's release of the system gives it: every object has one field more."""
    if "json" not in answer.headers.get("content-type", "") or not answer.body:
        return answer
    body = encode_json(_more(decode_json(answer.body)))
    return SimResponse(answer.status, body, dict(answer.headers), answer.cookies)


def _more(value: Any) -> Any:
    if isinstance(value, dict):
        return {**{name: _more(inner) for name, inner in value.items()}, NEW_FIELD: NEW_VALUE}
    return [_more(inner) for inner in value] if isinstance(value, list) else value
