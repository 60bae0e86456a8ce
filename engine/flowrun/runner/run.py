"""One pass of a flow: intake, then deliver until nothing is due."""

from __future__ import annotations

import os
import random
import socket
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from flowrun.connector import Source, Target
from flowrun.errors import BudgetSpent, ConnectorError, NoRoom, StoreError
from flowrun.flow.model import Flow
from flowrun.logs import log
from flowrun.pacing import gate
from flowrun.plan import Plan
from flowrun.runner.guard import check_guard
from flowrun.runner.intake import Intake
from flowrun.runner.mapping import apply_all
from flowrun.runner.patience import Patience
from flowrun.runner.pausing import Watch, refuse_paused
from flowrun.runner.workflow import Workflows
from flowrun.spans import span
from flowrun.store import Held, Row, Store
from flowrun.store.circuits import Circuit
from flowrun.writer import SUB_BATCH, Counts, Seams, Writer
from flowrun.writer.writer import patience_of

CLAIM = 256  # lanes held together; the cross-references of their records are one query a table
SHARED_CLAIM = 2 * SUB_BATCH  # the same where several workers share a flow, so that each finds some
LOOK_SECS = 1.0  # between two looks for work that another worker may give back early
BACK_SECS = (5.0, 30.0)  # between two looks at an open circuit, at random: when it closes, workers come back one by one
LOCKED_SECS = 0.1  # between two tries at lanes that are due and locked: another worker claims them just now, or froze


@dataclass(slots=True)
class Summary:
    """What one run did. received: new records at intake; next_due_in: seconds until waiting ones may be tried.
    waits: connection → seconds that its budget was waited for."""

    flow: str
    run: int
    read: int = 0
    received: int = 0
    counts: Counts = field(default_factory=Counts)
    waiting: int = 0
    next_due_in: float | None = None
    waits: dict[str, int] = field(default_factory=dict)

    def as_counts(self) -> dict[str, int]:
        c = self.counts
        return {
            "read": self.read, "received": self.received, "confirmed": c.confirmed, "unchanged": c.unchanged,
            "skipped": c.skipped, "dead": c.dead, "waiting": self.waiting, "sends": c.sends, "asked": c.asked,
            "lost": c.lost, "warnings": c.warnings, "s_waited": sum(self.waits.values()),
        }  # fmt: skip


def run_flow(
    flow: Flow,
    plan: Plan,
    *,
    target: Target,
    store: Store,
    source: Source | None = None,
    records: Iterable[Mapping[str, Any]] | None = None,
    environment: str = "",
    connections: Mapping[str, Any] | None = None,
    wait_secs: float = 60.0,
    limit: int | None = None,
    workers: int = 1,
    override_guard: bool = False,
    sleep: Callable[[float], object] | None = None,
    seams: Seams | None = None,
    report: Callable[[Row, str, str], None] | None = None,
    intake: bool = True,
    deliver: bool = True,
    stopping: threading.Event | None = None,
    kind: str = "run",
) -> Summary:
    """One intake pass (from ``records``, else from ``source``), then deliver.

    wait_secs: retries that are due within this time are waited for; later ones stay for the next run.
    connections: connectors by name, for live look-ups. intake False: only deliver what is held.
    deliver False: only take in. kind: what the run is for, as ``Store.begin_run`` has it.
    workers: threads that deliver, each holding lanes of its own. stopping: once it is set, calls under way are
    finished, nothing new begins, and the rest waits for the next run. sleep: in place of waiting for it.
    Raises ConnectorError when the source cannot be read (what was read is held), GuardStopped, Paused, StoreError.
    """
    stopping = stopping or threading.Event()
    sleep = sleep or stopping.wait
    patience = Patience(flow.name, sleep)
    patience(lambda: refuse_paused(flow, store, reads=source is not None, delivers=deliver))
    run = patience(lambda: store.begin_run(flow.name, environment, flow.hash, kind))
    summary = Summary(flow.name, run)
    before = dict(store.budgets.waits)
    reading = Watch(flow, store, stopping.is_set, reads=True)
    taking = Intake(flow, plan, store, run, seams or (lambda name: None), limit, patience, reading)
    watches = [Watch(flow, store, stopping.is_set) for _ in range(workers)]
    drains = [
        Drain(
            flow,
            plan,
            store,
            Writer(flow, plan, target, store, seams=seams, report=report, stopping=watch),
            connections or {},
            sleep,
            patience,
            alone=workers == 1 and not store.database.shared,
            stopping=watch,
        )
        for watch in watches
    ]

    def send() -> None:
        if stopping.is_set() or not deliver:
            return
        if not override_guard:
            patience(lambda: check_guard(flow, plan, store, connections or {}))
        until = patience(store.time) + wait_secs
        patience(lambda: store.circuits.insist(flow.target.connection))  # whoever runs it asks for a try
        if workers == 1:
            drains[0].run(until)
            return
        with ThreadPoolExecutor(workers, thread_name_prefix="deliver") as pool:
            jobs = [pool.submit(drain.run, until) for drain in drains]
            try:
                for job in wait(jobs, return_when=FIRST_EXCEPTION).done:
                    job.result()
            except BaseException:  # the others are waited for
                stopping.set()
                raise

    def end() -> None:
        summary.read, summary.received = taking.read, store.received(run)
        summary.counts = Counts()
        for drain in drains:
            summary.counts.add(drain.writer.counts)
        summary.waiting = store.lanes.waiting(flow.name)
        summary.next_due_in = store.lanes.due_in(flow.name)
        rests_until = max(drain.rests_until for drain in drains)
        if rests_until and summary.next_due_in is not None:
            summary.next_due_in = max(summary.next_due_in, rests_until - store.time())
        summary.waits = {
            name: round(secs - before.get(name, 0.0))
            for name, secs in store.budgets.waits.items()
            if secs - before.get(name, 0.0) >= 1.0
        }
        store.end_run(run, summary.as_counts())

    try:
        try:
            if intake:
                # Nothing is held meanwhile, so it may be long.
                with gate.patience(lambda: max(wait_secs, gate.PATIENCE_SECS), sleep=sleep):
                    taking.take(source, records)
        except (ConnectorError, NoRoom):  # what was read is held; any other end (a person's Ctrl-C) is an end
            send()
            raise
        send()
    except BaseException as error:
        if isinstance(error, NoRoom) or not isinstance(error, StoreError):  # else its end cannot be noted either
            patience(end)
        raise
    patience(end)
    return summary


def worker_name() -> str:
    """Of who holds something in the store: machine, process and chance, at most 64 characters."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"[-64:]


class Drain:
    """Claims lanes of one flow, maps their records and writes them, until nothing is due in time."""

    def __init__(
        self,
        flow: Flow,
        plan: Plan,
        store: Store,
        writer: Writer,
        connections: Mapping[str, Any],
        sleep: Callable[[float], object],
        patience: Patience | None = None,
        *,
        alone: bool = True,
        chance: random.Random | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """alone: nobody else delivers this flow. stopping: asked before each claim."""
        self.flow = flow
        self.plan = plan
        self.store = store
        self.writer = writer
        self.worker = worker_name()
        self._connections = connections
        self._sleep = sleep
        self._patience = patience or Patience(flow.name, sleep)
        self._alone = alone
        self._chance = chance or random.Random()  # noqa: S311 - jitter, no secret
        self._stopping = stopping
        self._width = CLAIM
        self.rests_until = 0.0
        """By the store's clock: when it is the connection's turn again; 0: now."""
        self._held: Held | None = None
        self._workflows = Workflows(flow, plan.env, store, writer, connections) if flow.steps else None

    def run(self, until: float) -> None:
        """until: by the store's clock; what is due later stays."""
        while not self.writer.counts.paused and not self._stopping():
            if not self._patience(lambda: self._step(until)):
                break

    def _give_back(self) -> None:
        """Lanes that were held when the database went away. What was committed last is not known: what was sent is
        asked for like after a crash. Where the lease ended meanwhile, nothing happens."""
        if self._held is not None:
            self.store.lanes.release(self._held)
            self._held = None

    def _step(self, until: float) -> bool:
        """One claim, or one wait. False when nothing is due in time."""
        self._give_back()
        rest = self.rests_until - self.store.time() if self.rests_until else 0.0
        if rest > 0:
            if self.rests_until > until:
                return False
            self._sleep(rest + 0.001)
            self.store.budgets.waited(self.flow.target.connection, rest)
        self.rests_until = 0.0
        circuit = self.store.circuits.of(self.flow.target.connection)
        if (circuit is None or circuit.state == "failing") and self._claimed(failing=circuit is not None):
            return True
        if circuit is not None and circuit.state != "failing":
            self._width = 0  # who saw it open begins with one record again
        wait, probing = self._turn(circuit)
        if wait is None:
            return False
        if wait > 0:
            if self.store.time() + wait > until:
                return False
            if circuit is not None and circuit.state != "failing":
                wait = min(wait, self._chance.uniform(*BACK_SECS))
            self._sleep(wait + 0.001)
        elif probing:
            self._claimed(failing=True)
        elif not self._alone:  # due, and yet there was nothing to claim: another process is at it
            self._sleep(LOCKED_SECS)
        return True

    def _claimed(self, *, failing: bool) -> bool:
        """Whether there was something to claim; it is written then."""
        self.writer.counts.held, self.writer.counts.rest_secs = "", 0.0
        most = max(CLAIM if self._alone else SHARED_CLAIM, self.flow.target.batch)  # a batch can be filled
        if self._workflows is not None:
            most = SUB_BATCH  # they go one after the other, and what is held waits for the one before
        self._width = max(1, min(most, self._width * 4))  # after an outage it grows step by step
        held = self.store.lanes.claim(self.flow.name, self._width, self.worker)
        if held.rows:
            self._held = held
            self._write(held, failing)
            self._held = None
            if self.writer.counts.held or self.writer.counts.rest_secs:
                self._width = 0
            if self.writer.counts.rest_secs:
                self.rests_until = self.store.time() + self.writer.counts.rest_secs
        return bool(held.rows)

    def _write(self, held: Held, failing: bool) -> None:
        with span("deliver", flow=self.flow.name, records=len(held.rows)):
            self._map_and_write(held, failing)

    def _map_and_write(self, held: Held, failing: bool) -> None:
        try:
            if self._workflows is not None:
                with gate.patience(lambda: patience_of(held)):
                    self._workflows.write(held)
                return
            with (
                gate.patience(lambda: patience_of(held)),
                span("map", flow=self.flow.name, records=len(held.rows)),
            ):
                outcomes = apply_all(self.flow, self.plan, self.store, held.rows, self._connections)
        except BudgetSpent as error:  # of a live look-up
            self.writer.counts.rest_secs = error.retry_after_secs or 0.0
            self.store.lanes.release(held, wait_secs=self.writer.counts.rest_secs)
            log().info("waits", flow=self.flow.name, message=error.message)
            return
        except BaseException:
            self.store.lanes.release(held)
            raise
        self.writer.write(held, outcomes, failing=failing)

    def _turn(self, circuit: Circuit | None) -> tuple[float | None, bool]:
        """(seconds to wait, None when nothing waits; whether a probe may be sent), when there was nothing to claim, or
        nothing may be claimed."""
        due, held = self.store.lanes.free_in(self.flow.name)
        if held:  # another worker may give them back at any moment
            due = LOOK_SECS if due is None else min(due, LOOK_SECS)
        if due is None:
            return None, False
        if circuit is None or circuit.state == "failing":
            return max(0.0, due), False
        if due > 0:
            return max(due, circuit.wait_secs), False
        if circuit.wait_secs > 0:
            return circuit.wait_secs, False
        return (0.0, True) if self.store.circuits.probe(self.flow.target.connection) else (1.0, False)
