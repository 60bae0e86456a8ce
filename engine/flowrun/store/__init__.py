"""The durable state: inbox, cursors, lanes, journal, cross-references, dead letters, circuits, runs."""

from flowrun.store.rows import Ending, Failure, Held, Incoming, Intent, Row, StepRow, fingerprint, unfit
from flowrun.store.store import Store, open_store

__all__ = [
    "Ending",
    "Failure",
    "Held",
    "Incoming",
    "Intent",
    "Row",
    "StepRow",
    "Store",
    "fingerprint",
    "open_store",
    "unfit",
]
