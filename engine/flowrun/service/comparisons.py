"""A flow's two sides compared by the clock; what differs is told, or put back to be delivered."""

from __future__ import annotations

from collections.abc import Callable

from flowrun.alerts import agrees, differs, guarded
from flowrun.connector import discover
from flowrun.errors import GuardStopped
from flowrun.logs import log
from flowrun.planning import target_info
from flowrun.reconcile import Report, compare, repair
from flowrun.reconcile.words import headline
from flowrun.runner import refuse_paused
from flowrun.service.deployment import Deployed, Deployment


class Ending(Exception):
    """The service ends; nothing of the comparison is kept."""


def compare_now(deployment: Deployment, one: Deployed, step: Callable[[], None]) -> None:
    """step: called between batches. Raises what it raises, ConnectorError, Paused, StoreError."""
    flow, store = one.flow, deployment.store
    refuse_paused(flow, store, reads=True, delivers=True)
    report = compare(
        flow,
        one.plan,
        source=deployment.connections[flow.source.connection],
        target=deployment.connections[flow.target.connection],
        info=target_info(deployment.project, deployment.environment, discover(), flow),
        held=store,
        environment=deployment.environment.name,
        connections=deployment.connections,
        step=step,
    )
    try:
        _kept(deployment, report)
    finally:
        report.close()


def _kept(deployment: Deployment, report: Report) -> None:
    """The counts as a run, the rest as an alert; the repair first, so that the alert is about what is left."""
    flow, store = report.flow, deployment.store
    words = headline(report)
    repairs = (flow.source.reconcile or {}).get("on_difference") == "repair" and report.repairable > 0
    run = store.begin_run(flow.name, deployment.environment.name, flow.hash, "full")
    put = 0
    try:
        if repairs:
            put = repair(report, store, run=run, who="flowrun serve")
    except GuardStopped as stopped:
        log().warning("guard", flow=flow.name, message=stopped.message)
        guarded(store, flow, stopped)
    finally:
        store.end_run(run, {**report.as_counts(), "received": store.received(run)})
    if report.differences > put:
        log().warning("sides differ", flow=flow.name, message=words, put_back=put)
        differs(store, flow, words)
    else:
        log().info("sides compared", flow=flow.name, message=words, put_back=put)
        agrees(store, flow)
