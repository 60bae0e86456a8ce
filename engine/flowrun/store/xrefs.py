"""Cross-references: which id of one system is which of another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from flowrun.store import schema as t
from flowrun.store.database import Database
from flowrun.store.rows import unfit

_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Moved:
    """A cross-reference that now leads elsewhere."""

    name: str
    source_id: str
    before: str
    now: str


class Xrefs:
    def __init__(self, database: Database) -> None:
        self._db = database

    def look_up(self, name: str, keys: Iterable[str], *, reverse: bool = False) -> dict[str, str]:
        """The ids that stand for ``keys``; keys without one are left out. reverse: target id → source id."""
        x = t.xref.c
        one, other = (x.target_id, x.source_id) if reverse else (x.source_id, x.target_id)
        found: dict[str, str] = {}
        wanted = [key for key in keys if not unfit(key)]  # what cannot be kept is not there
        with self._db.transaction() as tx:
            for start in range(0, len(wanted), _CHUNK):
                query = select(one, other).where(x.name == name, one.in_(wanted[start : start + _CHUNK]))
                found.update((key, value) for key, value in tx.execute(query))
        return found

    def remember(self, tx: Connection, entries: Sequence[tuple[str, str, str]]) -> list[Moved]:
        """Keep (name, source id, target id). Returns those that stood for another id before."""
        wanted = {(name, source_id): target_id for name, source_id, target_id in entries}
        if not wanted:
            return []
        x = t.xref.c
        now = self._db.time(tx)
        there: dict[tuple[str, str], str] = {}
        for name in sorted({name for name, _ in wanted}):
            ids = sorted(source_id for one, source_id in wanted if one == name)
            for start in range(0, len(ids), _CHUNK):
                query = select(x.source_id, x.target_id).where(
                    x.name == name, x.source_id.in_(ids[start : start + _CHUNK])
                )
                there.update(((name, source_id), target_id) for source_id, target_id in tx.execute(query))
        changed: list[dict[str, Any]] = [
            {"name": name, "source_id": source_id, "target_id": target_id, "at": now}
            for (name, source_id), target_id in sorted(wanted.items())
            if there.get((name, source_id)) != target_id
        ]
        if changed:
            tx.execute(self._db.upsert(t.xref, ("name", "source_id"), ("target_id", "at")), changed)
        return [
            Moved(one["name"], one["source_id"], there[pair], one["target_id"])
            for one in changed
            if (pair := (one["name"], one["source_id"])) in there
        ]

    def put(self, entries: Sequence[tuple[str, str, str]], who: str) -> list[Moved]:
        """The same by hand, audited."""
        with self._db.transaction() as tx:
            moved = self.remember(tx, entries)
            self._audit(tx, who, "xref put", f"{len(entries)} entries")
        return moved

    def remove(self, name: str, source_ids: Sequence[str], who: str) -> int:
        x = t.xref.c
        with self._db.transaction() as tx:
            gone = tx.execute(delete(t.xref).where(x.name == name, x.source_id.in_(list(source_ids)))).rowcount
            self._audit(tx, who, "xref remove", f"{name}: {', '.join(source_ids)}")
        return int(gone)

    def all(self, name: str | None = None) -> list[dict[str, Any]]:
        """name, source_id, target_id, at; by name, then in order of arrival."""
        query = select(t.xref.c.name, t.xref.c.source_id, t.xref.c.target_id, t.xref.c.at)
        if name is not None:
            query = query.where(t.xref.c.name == name)
        with self._db.transaction() as tx:
            return [dict(found) for found in tx.execute(query.order_by(t.xref.c.name, t.xref.c.id)).mappings()]

    def sizes(self) -> dict[str, int]:
        """Rows of each table, by name."""
        x = t.xref.c
        with self._db.transaction() as tx:
            found = tx.execute(select(x.name, func.count()).group_by(x.name).order_by(x.name)).all()
        return {str(name): int(count) for name, count in found}

    def _audit(self, tx: Connection, who: str, action: str, detail: str) -> None:
        tx.execute(insert(t.audit).values(at=self._db.time(tx), who=who, action=action, detail=detail))
