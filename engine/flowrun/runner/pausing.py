"""Whether a flow may go on: a person may pause it, or a connection it calls, at any moment and from any process."""

from __future__ import annotations

import time
from collections.abc import Callable

from flowrun.errors import Paused
from flowrun.flow.model import Flow
from flowrun.store import Store
from flowrun.store.pauses import Pause

LOOK_SECS = 1.0  # between two looks of one worker


def reads_from(flow: Flow) -> tuple[str, ...]:
    """Connections that a pass over the source calls."""
    return (flow.source.connection,)


def delivers_by(flow: Flow) -> tuple[str, ...]:
    """Connections that mapping and delivering call."""
    return (flow.target.connection, *flow.asked)


def refuse_paused(flow: Flow, store: Store, *, reads: bool, delivers: bool) -> None:
    """Raises Paused when a person has stopped what is about to begin."""
    connections = (*(reads_from(flow) if reads else ()), *(delivers_by(flow) if delivers else ()))
    found = store.pauses.of(flow.name, connections)
    if found is not None:
        raise paused(found)


def paused(found: Pause) -> Paused:
    name = found.name if found.kind == "flow" else f"connection:{found.name}"
    return Paused(found.words, help=f"flowrun resume {name}")


class Watch:
    """Called between two calls to the outside: whether nothing new is to begin. The store is asked every
    ``LOOK_SECS``; a call that is on its way is finished."""

    def __init__(self, flow: Flow, store: Store, stopping: Callable[[], bool], *, reads: bool = False) -> None:
        self._flow = flow.name
        self._connections = reads_from(flow) if reads else delivers_by(flow)
        self._store = store
        self._stopping = stopping
        self._looked = time.monotonic()
        self._found = False

    def __call__(self) -> bool:
        if self._stopping():
            return True
        now = time.monotonic()
        if now - self._looked >= LOOK_SECS:
            self._looked = now
            self._found = self._store.pauses.of(self._flow, self._connections) is not None
        return self._found
