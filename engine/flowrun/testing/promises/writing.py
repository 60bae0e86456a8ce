"""Promises of a target: one intended effect stays one, and every item gets its verdict."""

from __future__ import annotations

from flowrun.connector import Receipt
from flowrun.errors import ConnectorError, DeliveryUnknown, Refused
from flowrun.testing.contract_suite import NotPromised, Subject, promise
from flowrun.testing.promises.asking import (
    deliver,
    floats,
    healed,
    item,
    once,
    settled,
    simulated,
    struck,
    with_new_fields,
    writes,
    written,
)

LOST_AFTER = ("reset_after", "timeout_after", "truncated", "garbage_after", "500_after")
LOST_BEFORE = ("reset_before", "half_open", "503")


@promise("target")
def delivering_twice_leaves_one(subject: Subject) -> None:
    """By the target's own doing where the class says so; else by asking first, and then ``find`` must find it."""
    how = writes(subject)
    kind = once(subject, how)
    if kind == "none":
        raise NotPromised("at least once, by its own word")
    with subject.world() as world:
        one = item(how, world, 1)
        with subject.connected(world) as connector:
            first = written(connector, one)
            assert first.id, "a receipt without the object's id"
        with subject.connected(world) as connector:  # another process, which remembers nothing
            if kind == "find":
                assert how.find, "once by find, but no field to find by is given"
                found = connector.find(how.object, {name: one.body[name] for name in how.find})
                assert [receipt.id for receipt in found] == [first.id], f"find gives {[r.id for r in found]}"
                assert not any(receipt.created for receipt in found), "what is found was not created now"
            again = settled(connector, how, one) if kind == "find" else written(connector, one)
            assert again.id == first.id, f"the same effect is {first.id} first and {again.id} then"
        assert how.count(world, 1) == 1, f"{how.count(world, 1)} objects"


@promise("target", "faults")
def an_answer_lost_after_the_write_leaves_one(subject: Subject) -> None:
    """The write was done and nobody heard: an unknown outcome, which asking first settles as one object."""
    how = writes(subject)
    kind = once(subject, how)
    with subject.world() as world, subject.connected(world) as connector:
        lossy = simulated(world)
        written(connector, item(how, world, 0))  # sessions and tokens are there from now on
        for n, fault in enumerate(LOST_AFTER, 1):
            one = item(how, world, n)
            faults = struck(lossy, f"{fault};only=writes;hang=2")
            verdict = deliver(connector, one)
            assert faults.hit == [fault], f"{fault} never struck"
            healed(world)
            assert isinstance(verdict, Receipt | DeliveryUnknown), f"{fault}: {verdict!r} is no DeliveryUnknown"
            if kind != "none":
                settled(connector, how, one)
                assert how.count(world, n) == 1, f"{fault}: {how.count(world, n)} objects"


@promise("target", "faults")
def a_request_lost_before_the_write_leaves_one(subject: Subject) -> None:
    """Nothing was done: once the system is back, the same item is delivered, and once."""
    how = writes(subject)
    once(subject, how)
    with subject.world() as world, subject.connected(world) as connector:
        lossy = simulated(world)
        written(connector, item(how, world, 0))
        for n, fault in enumerate(LOST_BEFORE, 1):
            one = item(how, world, n)
            struck(lossy, f"{fault};only=writes;hang=2")
            verdict = deliver(connector, one)
            healed(world)
            assert isinstance(verdict, ConnectorError), f"{fault}: delivered, it says"
            assert not isinstance(verdict, Refused), f"{fault}: taken for a refusal"
            settled(connector, how, one)
            assert how.count(world, n) == 1, f"{fault}: {how.count(world, n)} objects"


@promise("target")
def each_item_gets_its_verdict(subject: Subject) -> None:
    """A bad item among good ones: the verdicts come in order, and only the bad one fails."""
    how = writes(subject)
    if how.refused is None:
        raise NotPromised("it refuses nothing")
    with subject.world() as world, subject.connected(world) as connector:
        good = [item(how, world, n) for n in (1, 2, 3)]
        bad = type(good[0])(how.object, how.action, how.refused(world), "contract-bad", how.match)
        verdicts = connector.deliver([good[0], bad, good[1], good[2]])
        assert len(verdicts) == 4, f"{len(verdicts)} verdicts for 4 items"
        said = [type(verdict).__name__ for verdict in verdicts]
        assert [isinstance(v, Receipt) for v in verdicts] == [True, False, True, True], f"verdicts: {said}"
        assert [how.count(world, n) for n in (1, 2, 3)] == [1, 1, 1], "a good item did not arrive, or twice"
        ids = [v.id for v in verdicts if isinstance(v, Receipt)]
        assert len(set(ids)) == 3, f"three objects share ids: {ids}"


@promise("target")
def a_refusal_is_told_as_the_system_tells_it(subject: Subject) -> None:
    """Class rejected, with the system's own words; never a try-again."""
    how = writes(subject)
    if how.refused is None:
        raise NotPromised("it refuses nothing")
    with subject.world() as world, subject.connected(world) as connector:
        bad = type(item(how, world, 1))(how.object, how.action, how.refused(world), "contract-bad", how.match)
        verdict = deliver(connector, bad)
        assert type(verdict) is Refused, f"a refused body gives {type(verdict).__name__}: {verdict}"
        words = verdict.message + verdict.code
        assert len(verdict.message) > 3 and not words.startswith("status "), f"the system's words are lost: {words!r}"


@promise("target")
def what_is_not_there_is_not_found(subject: Subject) -> None:
    """``find`` gives nothing before the write, and refuses to look for anything at all."""
    how = writes(subject)
    if not how.find:
        raise NotPromised("it is not asked before a repeat")
    with subject.world() as world, subject.connected(world) as connector:
        one = item(how, world, 1)
        written(connector, item(how, world, 2))
        by = {name: one.body[name] for name in how.find}
        assert list(connector.find(how.object, by)) == [], "it finds what was never written"
        written(connector, one)
        found = connector.find(how.object, by)
        assert len(found) == 1, f"written once, found {len(found)} times"
        assert not floats(found[0].response), f"floats: {floats(found[0].response)[:5]}"


@promise("target", "faults")
def receipts_survive_new_fields(subject: Subject) -> None:
    """A release that answers a write with a field more still gives the same id, and no float."""
    how = writes(subject)
    with subject.world() as world, subject.connected(world) as connector:
        newer = simulated(world)
        newer.mangle = with_new_fields
        receipt = written(connector, item(how, world, 1))
        assert receipt.id, "no id"
        assert not floats(receipt.response), f"floats: {floats(receipt.response)[:5]}"
        assert how.count(world, 1) == 1
