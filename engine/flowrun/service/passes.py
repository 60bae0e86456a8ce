"""What is read by the clock: polls, schedules, the reconciliation behind a stream, and comparisons of both sides; one
pass of a flow at a time.

Each time fires once, however many processes serve: the row of ``store.schedules`` is claimed with a lease. What was
missed while nobody served is caught up by one pass, since a pass reads all that changed since the cursor.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim

from flowrun.alerts import passed, unread
from flowrun.errors import ConnectorError, FlowrunError, Paused
from flowrun.flow.model import Flow, Poll, Schedule, Webhook
from flowrun.logs import log, redact
from flowrun.runner import Summary, reads_from, run_flow
from flowrun.service.comparisons import Ending, compare_now
from flowrun.service.deployment import Deployment
from flowrun.spans import span
from flowrun.store.pauses import first_of
from flowrun.store.schedules import Due, Name

LEASE_SECS = 60.0
AT_ONCE = 8  # passes beside each other


@dataclass(frozen=True, slots=True)
class Passed:
    """A pass that is over. first: the flow had no cursor before, so what it found is no news. error: "" when it went
    well."""

    flow: str
    kind: str
    first: bool
    summary: Summary | None
    error: str


class Passes:
    """told: called after each pass."""

    def __init__(
        self,
        deployment: Deployment,
        worker: str,
        *,
        told: Callable[[Passed], None] = lambda passed: None,
    ) -> None:
        self._deployment = deployment
        self._store = deployment.store
        self._worker = worker
        self._told = told
        self._specs = {name: spec for one in deployment.flows.values() for name, spec in specs_of(one.flow).items()}
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="pass")
        self._lock = threading.Lock()
        self._at: set[str] = set()  # flows
        self._ending = threading.Event()
        self._renewed = time.monotonic()
        self.freed: Callable[[], None] = lambda: None
        """Called when a pass is over."""

    def begin(self) -> None:
        """The rows are there."""
        now = self._store.time()
        for (flow, kind), spec in self._specs.items():
            self._store.schedules.ensure(flow, kind, spec, first_fire(spec, now))
        self._store.schedules.keep_only(self._specs.keys())

    def tick(self) -> float:
        """Start what is due. Returns the seconds until more may be."""
        if time.monotonic() - self._renewed > LEASE_SECS / 4:
            self._store.schedules.renew(self._worker, LEASE_SECS)
            self._renewed = time.monotonic()
        with self._lock:
            room = AT_ONCE - len(self._at)
        paused = self._store.pauses.all()
        flows = self._deployment.flows
        names = [name for name in self._specs if not first_of(paused, name[0], reads_from(flows[name[0]].flow))]
        if not names or room <= 0 or self._ending.is_set():
            return 1.0
        for due in self._store.schedules.claim(self._worker, LEASE_SECS, room, names):
            with self._lock:
                self._at.add(due.flow)
            self._pool.submit(self._pass, due)
        next_in = self._store.schedules.due_in(names)
        return 60.0 if next_in is None else max(0.05, next_in)

    def busy(self, flow: str) -> bool:
        return flow in self._at

    def stop(self, grace_secs: float) -> bool:
        """Passes end after the page that they are at; the next process reads on from there. False when some do not."""
        self._ending.set()
        self._pool.shutdown(wait=False)  # what is queued sees that it is to end, and is counted off
        until = time.monotonic() + grace_secs
        while self._at and time.monotonic() < until:
            time.sleep(0.02)
        self._store.schedules.give_back(self._worker)
        return not self._at

    def _go_on(self) -> None:
        """Raises Ending when the service ends; the next process compares anew."""
        if self._ending.is_set():
            raise Ending

    def _pass(self, due: Due) -> None:
        one = self._deployment.flows[due.flow]
        flow, words = one.flow, ""
        summary: Summary | None = None
        first = False
        try:
            if due.kind == "full":
                compare_now(self._deployment, one, self._go_on)
                return
            first = self._store.cursors.current(flow.name) is None
            with span("pass", flow=flow.name, kind=due.kind) as step:
                summary = run_flow(
                    flow,
                    one.plan,
                    target=self._deployment.connections[flow.target.connection],
                    source=self._deployment.connections[flow.source.connection],
                    store=self._store,
                    environment=self._deployment.environment.name,
                    connections=self._deployment.connections,
                    deliver=False,
                    stopping=self._ending,
                    kind="first" if first else due.kind,
                )
                step.say(read=summary.read, new=summary.received)
            passed(self._store, flow, read=True)
        except ConnectorError as error:
            words = redact(f"{error.error_class}: {error.message}")
            log().warning("not read", flow=flow.name, message=words)
            unread(self._store, flow, error)
        except Ending:
            log().info("comparison ended", flow=flow.name)
        except Paused as error:
            log().info("paused", flow=flow.name, message=error.message)
        except Exception as error:
            words = error.message if isinstance(error, FlowrunError) else type(error).__name__
            log().error("pass broke", flow=flow.name, message=words)
        finally:
            try:
                if not self._ending.is_set():
                    after = next_fire(self._specs[due.flow, due.kind], due.due, self._store.time())
                    self._store.schedules.done(due.flow, due.kind, self._worker, after, words or None)
            finally:  # where the store is away the lease ends by itself
                with self._lock:
                    self._at.discard(due.flow)
                self._told(Passed(due.flow, due.kind, first, summary, words))
                self.freed()


# -- times -------------------------------------------------------------------------------------------------------------


def specs_of(flow: Flow) -> Mapping[Name, str]:
    """(flow, kind) → ``every 600`` (seconds) or ``cron 0 3 * * *|Europe/Berlin``."""
    found: dict[Name, str] = {}
    trigger = flow.source.trigger
    if isinstance(trigger, Poll):
        found[flow.name, "poll"] = f"every {trigger.every_secs}"
    elif isinstance(trigger, Schedule):
        found[flow.name, "schedule"] = f"cron {trigger.cron}|{trigger.zone}"
    every = (flow.source.reconcile or {}).get("every_secs")
    if every and isinstance(trigger, Webhook):
        found[flow.name, "reconcile"] = f"every {every}"
    full = (flow.source.reconcile or {}).get("full")
    if full and not flow.steps:  # a workflow builds no one body to compare
        found[flow.name, "full"] = f"cron {full}|UTC"
    return found


def first_fire(spec: str, now: float) -> float:
    """A poll begins at once, a schedule at its time. Seconds since 1970."""
    return now if spec.startswith("every ") else next_fire(spec, now, now)


def next_fire(spec: str, due: float, now: float) -> float:
    """The first time after ``now``, in the rhythm that ``due`` was part of. Times that passed meanwhile are one."""
    kind, _, rest = spec.partition(" ")
    if kind == "every":
        every = float(rest)
        return due + every * max(1, math.floor((now - due) / every) + 1)
    line, _, zone = rest.partition("|")
    begin = datetime.fromtimestamp(max(now, due), UTC).astimezone(ZoneInfo(zone))
    return next(CronSim(line, begin)).timestamp()
