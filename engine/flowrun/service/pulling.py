"""Queues: messages are pulled, held, and only then acknowledged, so that what is lost on the way comes again."""

from __future__ import annotations

import threading
from collections.abc import Callable

from flowrun.alerts import settled, unread
from flowrun.connector import Pulls
from flowrun.errors import ConnectorError
from flowrun.logs import log, redact
from flowrun.pacing.gate import PATIENCE_SECS, patience
from flowrun.service.deployment import Deployment
from flowrun.service.hooks import Hooks

AT_ONCE = 50  # messages of one look
PAUSED_SECS = 1.0  # until the next look whether a person has resumed it
QUICKEST_SECS, SLOWEST_SECS = 0.5, 10.0  # between two looks at an empty queue: slower the longer it is empty


class Pulling:
    """One queue. taken: called when something was held."""

    def __init__(self, deployment: Deployment, hooks: Hooks, name: str, queue: Pulls) -> None:
        self.taken: Callable[[], None] = lambda: None
        self._deployment = deployment
        self._store = deployment.store
        self._hooks = hooks
        self._name = name
        self._queue = queue
        self._wait = QUICKEST_SECS
        self._ill = False
        self._ending = threading.Event()

    def stop(self) -> None:
        self._ending.set()

    def tick(self) -> float:
        """Pull what waits. Returns the seconds until the next look. Raises StoreError: nothing is acknowledged then."""
        if self._ending.is_set():
            return SLOWEST_SECS
        if any((one.kind, one.name) == ("connection", self._name) for one in self._store.pauses.all()):
            return PAUSED_SECS  # messages stay where they are
        try:
            with patience(lambda: PATIENCE_SECS, sleep=self._ending.wait):
                count = self._pulled()
        except ConnectorError as error:
            return self._failed(error)
        if self._ill:
            self._ill = False
            with self._store.transaction() as tx:
                settled(self._store, tx, self._name)
        self._wait = QUICKEST_SECS if count else min(SLOWEST_SECS, self._wait * 2)
        return 0.0 if count == AT_ONCE else self._wait

    def _pulled(self) -> int:
        messages = self._queue.pull(AT_ONCE)
        arrivals, tickets = [], []
        for one in messages:
            try:
                heard, _ = self._hooks.brought(self._queue.brings, one.request)
            except ConnectorError as error:  # it stays, for the broker's dead messages
                log().error("message not understood", connection=self._name, message=redact(error.message))
                continue
            arrivals += heard
            tickets.append(one.ticket)
        if arrivals and self._store.events.accept(arrivals):
            self.taken()
        self._queue.acknowledge(tickets)
        return len(messages)

    def _failed(self, error: ConnectorError) -> float:
        log().warning("not pulled", connection=self._name, message=redact(f"{error.error_class}: {error.message}"))
        self._wait = min(SLOWEST_SECS, self._wait * 2)
        self._ill = True
        for one in self._hooks.flows.values():
            if one.flow.source.connection == self._queue.brings:
                unread(self._store, one.flow, error, connection=self._name)
        return max(self._wait, min(getattr(error, "retry_after_secs", None) or 0.0, 60.0))
