"""What is due is delivered: lanes of all flows, by a number of threads, as they come."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from flowrun.alerts import guarded, passed
from flowrun.errors import FlowrunError, GuardStopped, StoreGone
from flowrun.logs import log
from flowrun.runner import SHARED_CLAIM, Drain, Watch, check_guard, delivers_by
from flowrun.service.deployment import Deployed, Deployment
from flowrun.store.pauses import first_of
from flowrun.writer import Writer

GUARD_SECS = 60.0  # between two tries of what a guard stopped
BROKEN_SECS = 5.0  # the same after a failure that is not the target's


class Deliveries:
    """busy: tells whether a pass of a flow is on; what a guard judges is the whole pass, so it waits for its end."""

    def __init__(self, deployment: Deployment, *, workers: int, busy: Callable[[str], bool]) -> None:
        self._deployment = deployment
        self._store = deployment.store
        self._workers = workers
        self._busy = busy
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="deliver")
        self._lock = threading.Lock()
        self._at: Counter[str] = Counter()  # flow → threads that deliver it now
        self._rest: dict[str, float] = {}  # flow → when it is tried again, by ``time.monotonic``
        self._ending = threading.Event()
        self.freed: Callable[[], None] = lambda: None
        """Called when a thread has become free."""

    def tick(self) -> float:
        """Hand out what is due. Returns the seconds until more may be."""
        paused = self._store.pauses.all()
        names = [
            name
            for name, one in self._deployment.flows.items()
            if self._rest.get(name, 0.0) <= time.monotonic() and not first_of(paused, name, delivers_by(one.flow))
        ]
        if not names or self._ending.is_set():
            return 1.0
        due, next_in = self._store.lanes.due_flows(names, self._workers * SHARED_CLAIM)
        for name, count in due.items():
            one = self._deployment.flows[name]
            if one.flow.target.guard is not None and self._busy(name):
                continue
            wanted = 1 if one.flow.target.guard is not None else -(-count // SHARED_CLAIM)
            for _ in range(wanted):
                if not self._begin(name, wanted):
                    break
        return 60.0 if next_in is None else max(0.0, next_in)

    def stop(self, grace_secs: float) -> bool:
        """Begin no further call, and wait for those that are on their way. False when some are not back in time."""
        self._ending.set()
        self._pool.shutdown(wait=False)  # what is queued sees that it is to end, and is counted off
        until = time.monotonic() + grace_secs
        while self.delivering and time.monotonic() < until:
            time.sleep(0.02)
        return not self.delivering

    @property
    def delivering(self) -> int:
        """Threads at work."""
        return self._at.total()

    def _begin(self, name: str, most: int) -> bool:
        with self._lock:
            if self._ending.is_set() or self._at[name] >= most or self._at.total() >= self._workers:
                return False
            self._at[name] += 1
        self._pool.submit(self._deliver, self._deployment.flows[name])
        return True

    def _deliver(self, one: Deployed) -> None:
        flow = one.flow
        try:
            if flow.target.guard is not None:
                check_guard(flow, one.plan, self._store, self._deployment.connections)
                passed(self._store, flow, read=False)
            target = self._deployment.connections[flow.target.connection]
            ending = self._ending
            stopping = Watch(flow, self._store, ending.is_set)
            writer = Writer(flow, one.plan, target, self._store, stopping=stopping)
            drain = Drain(
                flow, one.plan, self._store, writer, self._deployment.connections, ending.wait,
                alone=False, stopping=stopping,
            )  # fmt: skip
            drain.run(self._store.time())
            if writer.counts.paused:
                self._rest[flow.name] = time.monotonic() + BROKEN_SECS
        except GuardStopped as stopped:
            log().warning("guard", flow=flow.name, message=stopped.message)
            guarded(self._store, flow, stopped)
            self._rest[flow.name] = time.monotonic() + GUARD_SECS
        except Exception as error:
            words = error.message if isinstance(error, FlowrunError) else type(error).__name__
            level = log().warning if isinstance(error, StoreGone) else log().error
            level("delivery broke", flow=flow.name, message=words)
            self._rest[flow.name] = time.monotonic() + BROKEN_SECS
        finally:
            with self._lock:
                self._at[flow.name] -= 1
            self.freed()
