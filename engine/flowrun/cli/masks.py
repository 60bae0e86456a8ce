"""Masked fields are shown only when a person says --reveal, which is kept."""

from __future__ import annotations

from collections.abc import Sequence

import click

from flowrun.cli.project import who
from flowrun.store import Row, Store

REVEAL = click.option("--reveal", is_flag=True, help="Show masked fields, too; who did is kept in the audit.")
_NAMED = 20  # records in one entry of the audit


def revealed(store: Store, rows: Sequence[Row], command: str) -> None:
    """Who saw what, before it is shown."""
    names = ", ".join(f"{row.flow} {row.key} #{row.seq}" for row in rows[:_NAMED])
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    with store.transaction() as tx:
        store.audit(tx, who(), "reveal", f"{command}: {names}{more}")
