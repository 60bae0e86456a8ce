"""What the target holds of the objects that bodies name: asked through the connector's own protocols, many at once
where the source side of the connector can filter by the field."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flowrun.connector import ObjectInfo, Query, Reads, Record, Registry, Source, Target
from flowrun.errors import Conflict, NotFound, Refused
from flowrun.flow.model import Flow
from flowrun.plan import Mapped
from flowrun.project import Environment, Project

TOGETHER = 50  # objects asked for in one read; the runner's groups use the same


def target_info(project: Project, environment: Environment, registry: Registry, flow: Flow) -> ObjectInfo | None:
    """What the target's connector declares of the flow's object."""
    spec = project.connection(flow.target.connection, environment)
    return registry[spec.connector].object_info(flow.target.object, spec.public())


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found. asked False: it cannot be asked, and note says why. several: ids, when more than one matches."""

    record: Record | None = None
    id: str = ""
    asked: bool = True
    several: tuple[str, ...] = ()
    note: str = ""


class Reader:
    """info: what the connector declares of the object; None when that is not known."""

    def __init__(self, flow: Flow, target: Target, info: ObjectInfo | None) -> None:
        self.flow = flow
        self.target = target
        self.info = info

    def look(self, batch: Iterable[tuple[Mapped, Mapping[str, Any]]]) -> list[Seen]:
        """One answer a pair of outcome and body, in order. Raises ConnectorError when the target cannot be reached."""
        wanted = [self.named(mapped, body) for mapped, body in batch]
        ready = self._together([by for by in wanted if by])
        return [
            ready[_name(by)] if by and _name(by) in ready else self._one(by) if by else _unnamed(self.flow)
            for by in wanted
        ]

    @property
    def _creates(self) -> bool:
        return self.flow.target.action == "create"

    def named(self, mapped: Mapped, body: Mapping[str, Any]) -> dict[str, Any]:
        """The fields that name the object at the target, with their values; empty when it cannot be named."""
        if self._creates:
            by = {name: body.get(name) for name in self.flow.target.find_existing}
        else:
            by = dict(mapped.match)
        return by if all(value not in (None, "") for value in by.values()) else {}

    def _together(self, wanted: list[dict[str, Any]]) -> dict[tuple[Any, ...], Seen]:
        names = {name for by in wanted for name in by}
        if len(wanted) < 2 or not isinstance(self.target, Source) or not self.finds_many(names):
            return {}
        (name,) = names
        values = list(dict.fromkeys(str(by[name]) for by in wanted))
        rows: dict[str, list[Record]] = {value: [] for value in values}
        for start in range(0, len(values), TOGETHER):
            part = values[start : start + TOGETHER]
            try:
                for page in self.target.read(Query(self.flow.target.object, filter={name: part}, expand=self.expand)):
                    for row in page.records:
                        rows.get(str(row.get(name)), []).append(row)
            except Refused:  # it filters by less than it says: one by one, then
                return {}
        # Several of one name are rare, and only ``find`` knows their ids.
        return {
            _name(by): Seen(found[0] if found else None)
            for by in wanted
            if len(found := rows[str(by[name])]) < (1 if self._creates else 2)
        }

    def finds_many(self, names: Collection[str]) -> bool:
        """Whether many objects, named by these fields, can be asked for in one read."""
        if len(names) != 1 or not isinstance(self.target, Source) or self.info is None or not self.info.readable:
            return False
        return self.info.filters is None or next(iter(names)) in self.info.filters

    @property
    def expand(self) -> tuple[str, ...]:
        """A created object is only looked for; of a changed one its lists are compared too."""
        if self._creates:
            return ()
        nested = {
            mapping.path[0]
            for mapping in self.flow.map.fields
            if len(mapping.path) > 1 or (mapping.contract is not None and mapping.contract.type in ("list", "object"))
        }
        return tuple(sorted(nested))

    def _one(self, by: Mapping[str, Any]) -> Seen:
        try:
            if not self._creates and isinstance(self.target, Reads) and (self.info is None or self.info.by_key):
                return Seen(self.target.get(self.flow.target.object, by, self.expand))
            found = self.target.find(self.flow.target.object, by)
        except NotFound:
            return Seen()
        except Conflict as error:
            return Seen(several=(error.message,))
        except Refused as error:
            return Seen(asked=False, note=f"the target does not answer for it: {error.message}")
        if len(found) > 1:
            return Seen(several=tuple(receipt.id for receipt in found))
        return Seen(found[0].response, found[0].id) if found else Seen()


def find(target: Target, flow: Flow, body: Mapping[str, Any]) -> Seen:
    """As the writer asks for what may have arrived. asked False: there is nothing to ask by."""
    by = {name: body.get(name) for name in flow.target.find_existing}
    if not by or any(value in (None, "") for value in by.values()):
        return _unnamed(flow)
    try:
        found = target.find(flow.target.object, by)
    except Refused as error:
        return Seen(asked=False, note=f"the target does not answer for it: {error.message}")
    if len(found) > 1:
        return Seen(several=tuple(receipt.id for receipt in found))
    return Seen(found[0].response, found[0].id) if found else Seen()


def _unnamed(flow: Flow) -> Seen:
    word = "find_existing" if flow.target.action == "create" else "match"
    named = flow.target.find_existing if flow.target.action == "create" else flow.target.match
    return Seen(asked=False, note=f"{', '.join(named)} has no value" if named else f"the flow names no {word}")


def _name(by: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple((name, str(value)) for name, value in by.items())
