"""A line in the audit, from whoever holds no store: beside a process that delivers."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import insert

from flowrun.store import schema as t
from flowrun.store.database import open_database


def write_audit(place: Path | str, who: str, action: str, detail: str) -> None:
    """In the store at the place, which is made when it is not there. Raises StoreError."""
    database = open_database(place, beside=True)
    try:
        with database.transaction() as tx:
            tx.execute(insert(t.audit).values(at=database.time(tx), who=who, action=action, detail=detail))
    finally:
        database.close()
