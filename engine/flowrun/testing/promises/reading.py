"""Promises of a source: nothing lost, nothing endless, nothing rounded."""

from __future__ import annotations

from flowrun.connector import Cursor
from flowrun.errors import PagingLoop
from flowrun.testing.contract_suite import NotPromised, Subject, promise
from flowrun.testing.promises.asking import (
    NEW_FIELD,
    NEW_VALUE,
    floats,
    keys,
    pages,
    reads,
    records,
    simulated,
    struck,
    with_new_fields,
)


@promise("source")
def reading_from_any_cursor_loses_nothing(subject: Subject) -> None:
    """However often a read is cut off and taken up again at the cursor last given, every record arrives."""
    how = reads(subject)
    with subject.world() as world, subject.connected(world) as connector:
        how.fill(world, how.records)
        whole = list(pages(connector, how))
        everything = set(keys([r for page in whole for r in page.records], how))
        assert len(everything) == how.records, f"{len(everything)} of {how.records} records arrived"
        for stop in range(len(whole)):
            saved = [page for page in whole[: stop + 1] if page.cursor is not None]
            cursor = saved[-1].cursor if saved else None
            before = {key for page in whole[: stop + 1] for key in keys(page.records, how)}
            after = set(keys(records(connector, how, cursor), how))
            lost = everything - before - after
            assert not lost, f"stopped after page {stop + 1} and taken up at {cursor}: {sorted(lost)} never came"
        if how.cursor is not None:
            last = [page.cursor for page in whole if page.cursor is not None]
            assert last, f"read by '{how.cursor}', but no page has a cursor"
            how.fill(world, 2)
            fresh = set(keys(records(connector, how, last[-1]), how)) - everything
            assert len(fresh) == 2, f"2 records are new since {last[-1]}, {len(fresh)} arrived"


@promise("source")
def reading_twice_gives_the_same_keys(subject: Subject) -> None:
    """Nothing is used up by reading, and the order of change does not depend on chance."""
    how = reads(subject)
    with subject.world() as world, subject.connected(world) as connector:
        how.fill(world, how.records)
        first = keys(records(connector, how), how)
        assert len(first) == how.records, f"{len(first)} records for {how.records}"
        with subject.connected(world) as another:
            assert keys(records(another, how), how) == first
        assert keys(records(connector, how), how) == first


@promise("source")
def records_of_one_moment_all_arrive(subject: Subject) -> None:
    """Records that changed at the same time stand on both sides of a page's edge."""
    how = reads(subject)
    if how.same_moment is None or how.cursor is None:
        raise NotPromised("its changes have no time")
    with subject.world() as world, subject.connected(world) as connector:
        how.fill(world, 1)
        how.same_moment(world, 5)
        how.fill(world, 1)
        whole = list(pages(connector, how))
        everything = set(keys([r for page in whole for r in page.records], how))
        assert len(everything) == 7, f"{len(everything)} of 7 records arrived"
        for stop, page in enumerate(whole):
            before = {key for one in whole[: stop + 1] for key in keys(one.records, how)}
            if page.cursor is not None:
                lost = everything - before - set(keys(records(connector, how, page.cursor), how))
                assert not lost, f"taken up at {page.cursor}: {sorted(lost)} never came"


@promise("source")
def a_record_that_changes_while_read_is_not_lost(subject: Subject) -> None:
    """A change behind the reader moves the set; whatever shifts must still arrive, now or from the saved cursor."""
    how = reads(subject)
    if how.touch is None:
        raise NotPromised("nothing changes in it while it is read")
    with subject.world() as world, subject.connected(world) as connector:
        how.fill(world, how.records)
        everything = set(keys(records(connector, how), how))
        for victim in sorted(everything)[:3]:
            seen: set[str] = set()
            cursor: Cursor | None = None
            for number, page in enumerate(pages(connector, how)):
                seen.update(keys(page.records, how))
                cursor = page.cursor or cursor
                if number == 0:
                    how.touch(world, victim)
            seen.update(keys(records(connector, how, cursor), how) if cursor is not None else ())
            assert seen >= everything, f"{victim} changed while reading: {sorted(everything - seen)} never came"


@promise("source", "faults")
def a_source_that_repeats_itself_is_noticed(subject: Subject) -> None:
    """Every page is the first one again: the read ends in a PagingLoop, not never."""
    how = reads(subject)
    with subject.world() as world, subject.connected(world) as connector:
        stuck = simulated(world)
        how.fill(world, how.records)
        if len([p for p in pages(connector, how) if p.records]) < 2:
            raise NotPromised("it is not read in pages")
        struck(stuck, "stuck*;method=GET")
        before = len(stuck.log)
        try:
            count = sum(1 for _ in pages(connector, how))
        except PagingLoop:
            count = len(stuck.log) - before
            assert count <= 20, f"noticed only after {count} requests"
            return
        raise AssertionError(f"{count} pages, each like the first, and nothing was said")


@promise("source")
def numbers_are_exact(subject: Subject) -> None:
    """No value of a record has been through a binary float."""
    how = reads(subject)
    with subject.world() as world, subject.connected(world) as connector:
        how.fill(world, 2)
        found = records(connector, how)
        assert found, "nothing to look at"
        inexact = [f"{how.object}: {path}" for record in found for path in floats(record)]
        assert not inexact, f"floats: {inexact[:5]}"


@promise("source", "faults")
def unknown_fields_survive(subject: Subject) -> None:
    """A release that answers with a field more breaks nothing; and the field is kept, digit for digit."""
    how = reads(subject)
    with subject.world() as world, subject.connected(world) as connector:
        newer = simulated(world)
        how.fill(world, how.records)
        before = keys(records(connector, how), how)
        newer.mangle = with_new_fields
        found = records(connector, how)
        assert keys(found, how) == before, "the new field changed what is read"
        inexact = [path for record in found for path in floats(record)]
        assert not inexact, f"floats: {inexact[:5]}"
        if how.keeps_unknown:
            for record in found:
                assert record.get(NEW_FIELD) == NEW_VALUE, f"the new field came as {record.get(NEW_FIELD)!r}"


@promise("by_key")
def one_record_by_its_key(subject: Subject) -> None:
    """``get`` gives the record of that key as reading gives it, and None for a key that is not there."""
    how = reads(subject)
    ask = how.get or (lambda key: {how.key: key})
    with subject.world() as world, subject.connected(world) as connector:
        how.fill(world, 3)
        for key in keys(records(connector, how), how):
            found = connector.get(how.object, ask(key))
            assert found is not None, f"{key} was read, but get gives nothing"
            assert str(found.get(how.key)) == key, f"asked for {key}, got {found.get(how.key)}"
            assert not floats(found), f"floats: {floats(found)[:5]}"
        some = keys(records(connector, how), how)[0]
        other = "9" * len(some) if set(some) != {"9"} else "8" * len(some)
        assert connector.get(how.object, ask(other)) is None, f"there is no {other}, but get gives one"
