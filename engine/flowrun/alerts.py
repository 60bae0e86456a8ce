"""Alerts: counted by channel, flow and error class in the store, and said once in the log."""

from __future__ import annotations

from sqlalchemy import Connection

from flowrun.logs import log
from flowrun.store import Store


def raise_alert(store: Store, tx: Connection, channel: str, flow: str, error_class: str, message: str) -> None:
    """Count it; only the first of its kind is logged. Sending it on belongs to the service."""
    if store.alert(tx, channel, flow, error_class, message):
        log().warning("alert", channel=channel, flow=flow, error_class=error_class, message=message)
