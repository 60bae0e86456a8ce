"""Prometheus metrics: what the store holds, asked when somebody looks, and what this process counted itself.

A record's id is never a label.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from flowrun.errors import StoreError
from flowrun.reconcile import KINDS
from flowrun.store import Store

disable_created_metrics()  # type: ignore[no-untyped-call]
FRESH_SECS = 10.0  # the store is asked no more often, whoever looks


class Metrics:
    """hooks: requests at the door; passes: what was read by the clock; missed: records that no webhook had brought."""

    def __init__(self, store: Store) -> None:
        self.registry = CollectorRegistry()
        self.hooks = Counter(
            "flowrun_webhook_requests", "Requests at the door.", ("connection", "outcome"), registry=self.registry
        )
        self.events = Counter(
            "flowrun_webhook_events", "Events that were held or known.", ("connection",), registry=self.registry
        )
        self.passes = Counter(
            "flowrun_passes", "Passes over a source.", ("flow", "kind", "outcome"), registry=self.registry
        )
        self.missed = Counter(
            "flowrun_webhook_missed_records", "Records that reconciliation found and no webhook had brought.",
            ("flow",), registry=self.registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "flowrun_webhook_seconds", "From request to durable answer.", ("connection",), registry=self.registry,
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
        )  # fmt: skip
        self.registry.register(_Held(store))

    def text(self) -> bytes:
        """In the exposition format, version 0.0.4. Raises StoreError."""
        return generate_latest(self.registry)


class _Held(Collector):
    """Gauges of what the store holds."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._found: list[Any] = []
        self._at = -FRESH_SECS

    def describe(self) -> Iterable[Any]:
        return []  # so that registering asks nothing

    def collect(self) -> Iterable[Any]:
        with self._lock:
            if time.monotonic() - self._at >= FRESH_SECS:
                try:
                    self._found = self._asked()
                except StoreError:
                    up = GaugeMetricFamily("flowrun_store_up", "Whether the store answers.", value=0)
                    return [up]
                self._at = time.monotonic()
            return self._found

    def _asked(self) -> list[Any]:
        store = self._store
        now = store.time()
        records = GaugeMetricFamily("flowrun_records", "Records by outcome.", labels=("flow", "state"))
        oldest = GaugeMetricFamily(
            "flowrun_oldest_waiting_seconds", "Since the longest waiting record arrived.", labels=("flow",)
        )
        for one in store.summary():
            for state, count in one["records"].items():
                records.add_metric((one["flow"], state), count)
            since = one["oldest_waiting"]
            oldest.add_metric((one["flow"],), 0.0 if since is None else max(0.0, now - since))
        thin = GaugeMetricFamily("flowrun_thin_events", "Events not yet read back.", labels=("connection",))
        for waiting in store.events.waiting():
            thin.add_metric((waiting["connection"],), waiting["count"])
        circuits = GaugeMetricFamily(
            "flowrun_circuit", "1: the connection is in this state.", labels=("connection", "state")
        )
        for circuit in store.circuits.all():
            circuits.add_metric((circuit.connection, circuit.state), 1)
        late = GaugeMetricFamily(
            "flowrun_pass_due_seconds", "Until the next pass; negative: late.", labels=("flow", "kind")
        )
        failed = GaugeMetricFamily("flowrun_pass_failed", "1: the last pass failed.", labels=("flow", "kind"))
        for pass_ in store.schedules.all():
            late.add_metric((pass_.flow, pass_.kind), pass_.due - now)
            failed.add_metric((pass_.flow, pass_.kind), 1 if pass_.error else 0)
        alerts = GaugeMetricFamily("flowrun_open_alerts", "Alerts that are open.", value=len(store.alerts.open()))
        paused = GaugeMetricFamily("flowrun_paused", "1: a person has paused it.", labels=("kind", "name"))
        for pause in store.pauses.all():
            paused.add_metric((pause.kind, pause.name), 1)
        expiry = GaugeMetricFamily(
            "flowrun_token_expiry_seconds", "Until the stored token ends.", labels=("connection",)
        )
        for connection, ends in store.token_ends():
            expiry.add_metric((connection,), ends - now)
        differences = GaugeMetricFamily(
            "flowrun_reconcile_differences", "Of the last comparison of both sides.", labels=("flow", "kind")
        )
        for flow, counts in store.repairs.last_full():
            for kind in KINDS:
                differences.add_metric((flow, kind), counts.get(kind, 0))
        lost = GaugeMetricFamily(
            "flowrun_webhook_loss_ratio",
            "Records that only reconciliation found, of all that it and webhooks brought and the store still has.",
            labels=("flow",),
        )
        for flow, losses in store.repairs.all_losses():
            lost.add_metric((flow,), losses.rate)
        up = GaugeMetricFamily("flowrun_store_up", "Whether the store answers.", value=1)
        return [records, oldest, thin, circuits, late, failed, alerts, paused, expiry, differences, lost, up]
