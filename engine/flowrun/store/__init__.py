"""The durable state: inbox, cursors, journal, receipts, cross-references, dead letters, runs."""

from flowrun.store.rows import Incoming, Row, fingerprint
from flowrun.store.store import Failure, Store, open_store

__all__ = ["Failure", "Incoming", "Row", "Store", "fingerprint", "open_store"]
