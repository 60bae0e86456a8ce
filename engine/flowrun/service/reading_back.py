"""Thin events: the record they speak of is read back over the API, then taken in by each flow that listens."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

from flowrun.alerts import settled, unread
from flowrun.connector import Reads, Record
from flowrun.errors import ConnectorError
from flowrun.logs import log
from flowrun.pacing.gate import PATIENCE_SECS, patience
from flowrun.runner import identified
from flowrun.service.deployment import Deployed, Deployment
from flowrun.service.hooks import Hooks
from flowrun.store.events import Thin

AT_ONCE = 64  # records of one look
LEASE_SECS = 120.0  # longer than a read with all its tries takes; two that read the same do no harm
FIRST_WAIT_SECS, LONGEST_WAIT_SECS = 1.0, 300.0
MOST_ABSENT = 8  # tries for a record that the system does not know, one to two minutes: it may only be slow to show it


class ReadingBack:
    def __init__(self, deployment: Deployment, hooks: Hooks, *, threads: int = 4) -> None:
        self._store = deployment.store
        self._connections = deployment.connections
        self._hooks = hooks
        self._ending = threading.Event()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="read-back")

    def tick(self) -> float:
        """Read back what is due. Returns the seconds until more may be."""
        if self._ending.is_set():
            return 60.0
        thins = self._store.events.claim(AT_ONCE, LEASE_SECS)
        for _ in self._pool.map(self._one, thins):
            pass
        if len(thins) == AT_ONCE:
            return 0.0
        due = self._store.events.due_in()
        return 60.0 if due is None else max(0.0, due)

    def stop(self) -> None:
        """Nothing is begun any more, nor waits for its turn at a system."""
        self._ending.set()

    def close(self) -> None:
        """After the last look."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _one(self, thin: Thin) -> None:
        """Whatever goes wrong with one record is said with its event, and no matter of the others."""
        listening = self._listening(thin)
        try:
            with patience(lambda: PATIENCE_SECS, sleep=self._ending.wait):
                found = self._read(thin, listening)
        except ConnectorError as error:
            self._failed(thin, listening, error)
        except Exception as error:
            log().error("not read back", connection=thin.connection, error=type(error).__name__)
            self._failed(thin, listening, ConnectorError(f"the connector broke: {type(error).__name__}"))
        else:
            self._took(thin, found)

    def _listening(self, thin: Thin) -> list[Deployed]:
        found = {
            one.flow.name: one for name in sorted(thin.names) for one in self._hooks.listening(thin.connection, name)
        }
        return list(found.values())

    def _read(self, thin: Thin, listening: list[Deployed]) -> dict[str, Record | None]:
        """Flow → its record; flows that expand alike share one read."""
        connector = self._connections[thin.connection]
        if not isinstance(connector, Reads):
            raise ConnectorError(f"connection '{thin.connection}' cannot read one record by key")
        read: dict[tuple[str, tuple[str, ...]], Record | None] = {}
        found = {}
        for one in listening:
            source = one.flow.source  # its object may be another view of the event's, such as V4's
            way = source.object, tuple(source.expand)
            if way not in read:
                read[way] = connector.get(source.object, thin.record, source.expand)
            found[one.flow.name] = read[way]
        return found

    def _took(self, thin: Thin, found: dict[str, Record | None]) -> None:
        if found and any(record is None for record in found.values()):
            words = f"{thin.connection} has no {thin.object} {_words(thin)}"
            if thin.tries + 1 < MOST_ABSENT:
                self._store.events.later(thin.ids, _wait(thin.tries), words)
            else:
                log().warning("nothing to read back", connection=thin.connection, message=words)
                self._store.events.give_up(thin.ids, words)
            return
        flows = self._hooks.flows
        takers = [(name, identified(flows[name].plan, record)) for name, record in found.items() if record is not None]
        self._store.events.read_back(thin.ids, takers)
        if thin.tries:
            with self._store.transaction() as tx:
                settled(self._store, tx, thin.connection)

    def _failed(self, thin: Thin, listening: list[Deployed], error: ConnectorError) -> None:
        wait = max(_wait(thin.tries), min(getattr(error, "retry_after_secs", None) or 0.0, LONGEST_WAIT_SECS))
        self._store.events.later(thin.ids, wait, error.error_class)
        if thin.tries >= 1 or error.error_class == "auth":  # one failure is no news
            for one in listening:
                unread(self._store, one.flow, error)


def _wait(tries: int) -> float:
    longest: float = min(LONGEST_WAIT_SECS, FIRST_WAIT_SECS * 2 ** min(tries, 20))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret


def _words(thin: Thin) -> str:
    return ", ".join(f"{name} {value}" for name, value in thin.record.items() if value is not None)
