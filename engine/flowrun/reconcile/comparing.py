"""Two-way comparison: what the source maps to, held against what the target has.

Where the target can be listed and the flow owns what is listed, every object of it is looked at; else only those that
the source's records name. What looks missing in a list is asked for once more, one by one, before it is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from flowrun.connector import ObjectInfo, Query, Record, Source, Target
from flowrun.errors import ProjectError
from flowrun.flow.model import Flow
from flowrun.masking import mask_of
from flowrun.plan import Mapped, Plan
from flowrun.planning.changes import ABSENT, changes
from flowrun.planning.target import Reader, Seen
from flowrun.reconcile.reading import Expected
from flowrun.reconcile.spool import KINDS, Spool
from flowrun.reconcile.totals import Totals
from flowrun.runner import query_of
from flowrun.runner.run import CLAIM
from flowrun.store import Store

_CHANGES = ("update", "upsert")
CENTS = 2  # digits after the point of a sum of decimals, at least


@dataclass(slots=True)
class Report:
    """What was found. ``spool`` holds the differences; ``close`` gives its room back.

    counts: kind → differences. waiting: records that differ and are still on their way. past: objects whose records the
    flow skips by now. owned: whether the target's own objects were looked at, too. notes: what could not be compared.
    """

    flow: Flow
    environment: str
    spool: Spool
    source: Totals
    target: Totals
    since: str | None = None
    owned: bool = False
    read: int = 0
    skipped: int = 0
    waiting: int = 0
    past: int = 0
    repairable: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    notes: list[str] = field(default_factory=list)

    @property
    def differences(self) -> int:
        return sum(self.counts.values())

    @property
    def noun(self) -> str:
        """What is counted: a group makes one object of the target."""
        return self.flow.target.object if self.flow.source.group_by is not None else self.flow.source.object

    def as_counts(self) -> dict[str, int]:
        """For the run's row."""
        sides = {"read": self.read, "at_source": self.source.count, "at_target": self.target.count}
        return {**sides, **self.counts, "still_waiting": self.waiting, "past": self.past}

    def close(self) -> None:
        self.spool.close()


def compare(
    flow: Flow,
    plan: Plan,
    *,
    source: Source | None,
    target: Target,
    info: ObjectInfo | None,
    held: Store,
    environment: str = "",
    connections: Mapping[str, Any] | None = None,
    records: Iterable[Record] | None = None,
    since: str | None = None,
    step: Callable[[], None] = lambda: None,
) -> Report:
    """Read both sides and say what differs; nothing is written. info: of the target's object. since: a cursor, to
    compare only what changed at the source since then. step: called between batches; what it raises ends it.

    Raises ConnectorError when a side cannot be read, ProjectError when the flow leaves nothing to compare by.
    """
    reader = Reader(flow, target, info)
    _comparable(flow, since)
    spool = Spool(held.database.cover)
    try:
        fields = _summed(flow)
        report = Report(flow, environment, spool, Totals(fields), Totals(fields), since)
        expected = Expected(
            flow, plan, held, reader, spool, report.source, connections or {}, since, step
        )  # fmt: skip
        expected.take(source, records)
        report.read, report.skipped = expected.read, expected.skipped
        report.counts["rejected"] = expected.rejected
        if expected.unnamed:
            report.notes.append(f"{expected.unnamed} records name no object at the target; they were not compared")
        _Both(report, reader, held, target, step).run(partly=records is not None)
    except BaseException:
        spool.close()
        raise
    return report


def _comparable(flow: Flow, since: str | None) -> None:
    target = flow.target
    if target.action == "delete":
        raise ProjectError(f"{flow.name} deletes: what it did is gone, so nothing is left to compare")
    if not (target.find_existing if target.action == "create" else target.match):
        word = "idempotency.find_existing" if target.action == "create" else "match"
        raise ProjectError(f"{flow.name} does not say by which field its objects are found", help=f"target: {word}")
    if since is not None and query_of(flow, since).since is None:
        raise ProjectError(f"{flow.name} reads by no cursor, so it cannot be compared since a moment", help="--full")


def _summed(flow: Flow) -> dict[str, int]:
    """The fields of the control totals, with the digits that are shown: those that are named, else the numbers among
    those that are compared."""
    reconcile = flow.source.reconcile or {}
    shape = flow.target.shape
    kinds = {
        name: one.type if shape is not None and (one := shape.get(name)) is not None else ""
        for name in reconcile.get("totals") or reconcile.get("compare") or ()
    }
    numbers = kinds if reconcile.get("totals") else [n for n in kinds if kinds[n] in ("decimal", "integer")]
    return {name: CENTS if kinds[name] == "decimal" else 0 for name in numbers}


class _Both:
    def __init__(self, report: Report, reader: Reader, held: Store, target: Target, step: Callable[[], None]) -> None:
        self.report, self.reader, self.held, self.target, self.step = report, reader, held, target, step
        self.flow = report.flow
        self.spool = report.spool
        self.names = self.flow.target.find_existing if self.flow.target.action == "create" else self.flow.target.match
        self.reconcile = self.flow.source.reconcile or {}
        self.mask = mask_of(self.flow)
        self.unshown: set[str] = set()

    def run(self, *, partly: bool) -> None:
        """partly: the source's side is a file, which need not be all of it."""
        owns = self.reconcile.get("owns")
        whole = self.report.since is None and not partly
        readable = isinstance(self.target, Source) and (self.reader.info is None or self.reader.info.readable)
        self.report.owned = bool(owns) and whole and readable
        if readable and (self.report.owned or not self.reader.finds_many(self.names)):
            self._list(owns)
        for part in self.spool.parts(CLAIM, unseen=True):
            self.step()
            self._ask(part)
        if not self.report.owned:
            why = "the flow does not say what it owns there (reconcile: { owns: … })" if not owns else (
                "not all of the source was read" if not whole else "the target cannot be listed"
            )  # fmt: skip
            self.report.notes.append(f"extra objects at the target were not looked for: {why}")
        if self.unshown:
            shown = ", ".join(sorted(self.unshown)[:5])
            self.report.notes.append(f"the target does not show {shown}; not compared")
        for side, totals in (("source", self.report.source), ("target", self.report.target)):
            for name, count in totals.blank.items():
                if count:
                    self.report.notes.append(f"{name}: {count} objects of the {side} have no number there")

    # -- the target's list -----------------------------------------------------------------------------------------

    def _list(self, owns: Any) -> None:
        assert isinstance(self.target, Source)
        filter_ = owns if isinstance(owns, Mapping) and self.report.owned else {}
        query = Query(self.flow.target.object, filter=filter_, expand=self.reader.expand)
        for page in self.target.read(query):
            self.step()
            rows = [(row, self._name(row)) for row in page.records]
            there = self.spool.expected([name for _, name in rows])
            for row, name in rows:
                facts = there.get(self.spool.digest(name))
                if facts is None:
                    if self.report.owned:
                        self._extra(row, name)
                    continue
                self._met(facts, row)

    def _met(self, facts: dict[str, Any], row: Record) -> None:
        print_ = self.spool.digest(dict(row))
        if facts["seen"]:
            if facts["print"] != print_:  # the same once more: a page that moved
                self._note("double", facts, why=f"another object at the target has {self._said(facts['name'])}")
                self._count(row)
            return
        facts["seen"], facts["print"] = 1, print_
        self.spool.see(facts["n"], print_)
        self._there(facts, row)

    def _name(self, row: Record) -> list[str]:
        return [str(row.get(name)) for name in self.names]

    def _extra(self, row: Record, name: list[str]) -> None:
        self._count(row)
        shape = self.flow.target.shape
        keys = [one for one in (shape.fields if shape is not None else {}) if shape and shape.fields[one].key]
        object_ = ", ".join(f"{one} {row[one]}" for one in keys if one in row and one not in self.names)
        facts = {"key": self._said(name) or object_, "object": object_ or self._said(name)}
        key = self._made_by(row) if self.report.skipped else ""
        if key and self.spool.was_skipped(key):
            self.report.past += 1
            return
        self.report.counts["extra"] += 1
        self.spool.differ("extra", {**facts, "why": "no record of the source becomes it; it is never deleted"})

    def _made_by(self, row: Record) -> str:
        """The key of the record that this flow once made the object of; "" when the journal does not know."""
        by = {name: row.get(name) for name in self.names}
        if any(value in (None, "") for value in by.values()):
            return ""
        if self.flow.target.action == "create":
            ids = [receipt.id for receipt in self.target.find(self.flow.target.object, by)]
        else:  # what names it for a change is its number
            ids = [str(value) for value in by.values()]
        return next(iter(self.held.repairs.made_by(self.flow.name, ids).values()), "")

    # -- one by one ------------------------------------------------------------------------------------------------

    def _ask(self, part: list[dict[str, Any]]) -> None:
        mapped = [Mapped(one["body"], one["intent"] or None, one["match"]) for one in part]
        seen = self.reader.look([(one, one.body) for one in mapped])
        for facts, there in zip(part, seen, strict=True):
            if there.several:
                self._note("double", facts, why=f"several objects at the target match: {', '.join(there.several[:5])}")
            elif not there.asked:
                self._unasked(there)
            elif there.record is None:
                self._missing(facts)
            else:
                self._there(facts, there.record)

    def _unasked(self, there: Seen) -> None:
        if there.note not in self.report.notes:
            self.report.notes.append(there.note)

    def _missing(self, facts: dict[str, Any]) -> None:
        if facts["standing"] == "waiting":
            self.report.waiting += 1
            return
        if facts["standing"] == "dead":
            why, can = f"it has a dead letter: flowrun dlq show {self.flow.name} {facts['key']}", False
        elif self.flow.target.action == "update":
            why, can = "'update' creates nothing", False
        else:
            why, can = "it was delivered before" if facts["known"] else "nothing brought it until now", True
        self._note("missing", facts, why=why, repairable=can)

    def _there(self, facts: dict[str, Any], row: Record) -> None:
        self._count(row)
        differing = list(self._changes(facts["body"], row))
        if not differing:
            return
        if facts["standing"] == "waiting":
            self.report.waiting += 1
            return
        can = self.flow.target.action in _CHANGES and facts["standing"] != "dead"
        why = ""
        if not can:
            dead = f"it has a dead letter: flowrun dlq show {self.flow.name} {facts['key']}"
            why = dead if facts["standing"] else f"'{self.flow.target.action}' sends no changes: correct it by hand"
        self._note("different", facts, why=why, repairable=can, differing=differing)

    def _changes(self, body: Mapping[str, Any], row: Record) -> Iterator[tuple[str, Any, Any]]:
        """(field, what the target has, what it should have)."""
        wanted = self.reconcile.get("compare") or ()
        said = {
            name: value for name, value in body.items() if name not in self.names and (not wanted or name in wanted)
        }
        for one in changes(said, row, self.flow.target.shape):
            if one.known:
                yield one.field, one.old, one.new
            elif wanted:
                self.unshown.add(one.field)

    # -- noting ----------------------------------------------------------------------------------------------------

    def _count(self, row: Record) -> None:
        per = [_text(row.get(name)) for name in self.reconcile.get("per") or ()]
        self.report.target.add({name: row.get(name) for name in self.report.target.fields}, per)

    def _note(
        self, kind: str, facts: Mapping[str, Any], *, why: str = "", repairable: bool = False, differing: Any = ()
    ) -> None:
        payload = facts["payload"]

        def shown(name: str, value: Any) -> Any:
            return value if value is ABSENT else self.mask.body(self.mask.value(name, value), payload)

        fields = [
            {"field": name, **({} if old is ABSENT else {"old": shown(name, old)}),
             **({} if new is ABSENT else {"new": shown(name, new)})}
            for name, old, new in differing
        ]  # fmt: skip
        self.report.counts[kind] += 1
        self.report.repairable += repairable
        said = {"key": facts["key"], "object": self._said(facts["name"]), "why": why, "fields": fields}
        again = {name: facts[name] for name in ("version", "lane", "payload", "intent", "match")} if repairable else {}
        self.spool.differ(kind, {**said, **again}, repairable=repairable)

    def _said(self, name: list[str]) -> str:
        pairs = zip(self.names, name, strict=True)
        return ", ".join(str(self.mask.value(field, value)) for field, value in pairs if value not in ("", "None"))


def _text(value: Any) -> str:
    return "" if value is None else str(value)
