"""A service: its loops, begun and ended together."""

from __future__ import annotations

import time
from typing import Any

from flowrun.alerts import send_due
from flowrun.alerts.channels import Channels
from flowrun.connector import Pulls
from flowrun.errors import FlowrunError
from flowrun.flow.reading import seconds
from flowrun.logs import log
from flowrun.runner import worker_name
from flowrun.service.accepting import Acceptor
from flowrun.service.app import make_app
from flowrun.service.deliveries import Deliveries
from flowrun.service.deployment import Deployment
from flowrun.service.door import Door
from flowrun.service.drifting import Drifting
from flowrun.service.hooks import Hooks
from flowrun.service.loops import Loop
from flowrun.service.metrics import Metrics
from flowrun.service.passes import Passed, Passes
from flowrun.service.pulling import SLOWEST_SECS, Pulling
from flowrun.service.reading_back import ReadingBack
from flowrun.service.turnstile import turnstiles
from flowrun.store.events import REMEMBERED_SECS
from flowrun.store.pruning import prune
from flowrun.values import Clock, system_clock

TELL_SECS = 5.0
CLEAN_SECS = 3600.0
SILENT_SECS = 60.0  # without a look of a loop: it hangs
MOST_WAITING = 100_000  # records that wait for delivery; beyond it nothing more is taken at the door
COUNT_SECS = 2.0  # between two counts of what waits


class Service:
    """app: what an ASGI server serves. Raises ProjectError for flows that cannot be served."""

    def __init__(
        self, deployment: Deployment, *, workers: int = 8, now: Clock = system_clock, most_waiting: int = MOST_WAITING
    ) -> None:
        self.deployment = deployment
        self.store = deployment.store
        self.worker = worker_name()
        self.hooks = Hooks(deployment.flows.values(), deployment.connections)
        self.metrics = Metrics(self.store)
        self.draining = False
        self._most_waiting = most_waiting
        self._counted_at, self._full = -COUNT_SECS, ""
        self._passes = Passes(deployment, self.worker, told=self._passed)
        self._deliveries = Deliveries(deployment, workers=workers, busy=self._passes.busy)
        self._reading = ReadingBack(deployment, self.hooks)
        self._channels = Channels(
            deployment.project, deployment.environment.name, silent=bool(deployment.environment.sandbox)
        )
        self._delivering = Loop("deliver", self._deliveries.tick)
        self._reading_loop = Loop("read-back", self._reading.tick)
        self._scheduling = Loop("passes", self._passes.tick)
        self._telling = Loop("alerts", self._tell, TELL_SECS)
        self._cleaning = Loop("clean", self._clean, CLEAN_SECS)
        self._pulling = {
            name: Pulling(deployment, self.hooks, name, connector)
            for name, connector in deployment.connections.items()
            if isinstance(connector, Pulls) and connector.brings in self.hooks.connections
        }
        pulls = [Loop(f"pull {name}", one.tick, SLOWEST_SECS) for name, one in self._pulling.items()]
        self._drifting = Loop("drift", Drifting(deployment).tick, CLEAN_SECS)
        self._loops = (
            self._delivering, self._reading_loop, self._scheduling, self._telling, self._cleaning, self._drifting,
            *pulls,
        )  # fmt: skip
        self.acceptor = Acceptor(self.store.events, self._taken)
        for one in self._pulling.values():
            one.taken = self._taken
        self._deliveries.freed = self._delivering.wake
        self._passes.freed = self.wake
        turns = turnstiles(deployment.project, deployment.environment, self.hooks.connections)
        door = Door(self.hooks, self.acceptor, now=now, counted=self._count, full=self._fullness, turnstiles=turns)
        self.app: Any = make_app(door, troubles=self.troubles, ready=self._unready, metrics=self.metrics.text)

    def start(self) -> None:
        """Raises StoreError."""
        self._passes.begin()
        self.acceptor.start()
        for loop in self._loops:
            loop.start()

    def stop(self, grace_secs: float = 25.0) -> bool:
        """Hold what was brought, end what is on its way, leave nothing held. False when some calls did not come back
        in time; what they did is asked for by whoever serves next."""
        self.draining = True
        until = time.monotonic() + grace_secs
        for loop in self._loops:
            loop.stop()

        def left() -> float:
            return max(0.1, until - time.monotonic())

        whole = self.acceptor.stop(left())
        self._reading.stop()
        for one in self._pulling.values():
            one.stop()
        for loop in (self._delivering, self._scheduling):  # nothing is handed out any more when their threads end
            whole = loop.join(left()) and whole
        whole = self._deliveries.stop(left()) and whole
        whole = self._passes.stop(left()) and whole
        for loop in self._loops:
            whole = loop.join(left()) and whole
        self._reading.close()
        return whole

    @property
    def queues(self) -> list[str]:
        """Connections that are pulled from."""
        return sorted(self._pulling)

    # -- how it is -------------------------------------------------------------------------------------------------

    def troubles(self) -> list[str]:
        """What is wrong with this process, in words; what is wrong with a target is an alert instead."""
        found = []
        for loop in self._loops:
            if loop.trouble:
                found.append(f"{loop.name}: {loop.trouble}")
            elif time.monotonic() - loop.beat > SILENT_SECS and loop not in (self._cleaning, self._drifting):
                found.append(f"{loop.name}: hangs")
        try:
            self.store.time()
            self.store.database.check_room()
        except FlowrunError as error:
            found.append(error.message)
        return found

    def _unready(self) -> list[str]:
        return ["it is about to end"] if self.draining else [self._full] if self._full else []

    def _fullness(self) -> str:
        """Why nothing more is taken now; counted every few moments."""
        if self.draining:
            return "this process is about to end"
        if time.monotonic() - self._counted_at > COUNT_SECS:
            self._counted_at = time.monotonic()
            waiting = self.store.waiting(self._most_waiting + 1)
            self._full = f"more than {self._most_waiting} records wait" if waiting > self._most_waiting else ""
        return self._full

    # -- what the loops do -----------------------------------------------------------------------------------------

    def _taken(self) -> None:
        self._reading_loop.wake()
        self._delivering.wake()

    def wake(self) -> None:
        self._scheduling.wake()
        self._delivering.wake()

    def _count(self, connection: str, outcome: str, events: int, secs: float) -> None:
        self.metrics.hooks.labels(connection, outcome).inc()
        self.metrics.seconds.labels(connection).observe(secs)
        if events:
            self.metrics.events.labels(connection).inc(events)

    def _passed(self, passed: Passed) -> None:
        self.metrics.passes.labels(passed.flow, passed.kind, "failed" if passed.error else "ok").inc()
        summary = passed.summary
        if summary is None or not summary.received:
            return
        if passed.kind == "reconcile" and not passed.first:
            self.metrics.missed.labels(passed.flow).inc(summary.received)
            log().warning("webhooks missed", flow=passed.flow, records=summary.received, read=summary.read)
        else:
            log().info("read", flow=passed.flow, read=summary.read, new=summary.received)

    def _tell(self) -> float:
        send_due(self.store.alerts, self._channels)
        return TELL_SECS

    def _clean(self) -> float:
        now = self.store.time()
        self.store.events.forget(now - REMEMBERED_SECS)
        keep = seconds(self.deployment.project.store_keep or "")
        if keep is not None:
            prune(self.store.database, before=now - float(keep), who="flowrun serve")
        return CLEAN_SECS
