"""A look at what came in lately, every few minutes, away from the records' own way: nothing waits for it."""

from __future__ import annotations

from flowrun.alerts import raise_alert
from flowrun.drift.looking import look
from flowrun.drift.settings import KIND, incident_of, is_told, settings_of
from flowrun.logs import log
from flowrun.service.deployment import Deployed, Deployment

LAST = 1000  # records of a flow that are looked at
RECENT = 200  # of them, held against those before


class Drifting:
    """Looks at each flow once in the time that flowrun.yaml says."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._settings = settings_of(deployment.project)
        self._due: dict[str, float] = {}

    def tick(self) -> float:
        """Raises StoreError."""
        every = self._settings.every_secs
        now = self._deployment.store.time()
        for name, one in self._deployment.flows.items():
            if self._due.get(name, 0.0) <= now:
                self._due[name] = now + every
                self._look(one)
        return max(0.0, min(self._due.values(), default=now + every) - now)

    def _look(self, one: Deployed) -> None:
        """One alert while the shape is changed, told anew only when something else changed; over when it is as before.

        A flow that a person let go on is not paused again for what it was paused for.
        """
        store, flow = self._deployment.store, one.flow
        inputs = store.inputs(flow.name, LAST)
        found = look(flow, self._deployment.project.root, inputs, RECENT, self._settings.limits)
        told = next((alert for alert in store.alerts.open() if (alert.kind, alert.flow) == (KIND, flow.name)), None)
        incident = incident_of(found, self._settings)
        if incident is None:
            if told is not None:
                with store.transaction() as tx:
                    store.alerts.settle(tx, flow=flow.name, kinds=(KIND,))
            return
        if told is not None and is_told(found, self._settings, told):
            return
        with store.transaction() as tx:
            raise_alert(store, tx, incident)
        log().warning("drift", flow=flow.name, findings=len(found.findings), place=incident.place)
        if self._settings.pauses and found.share >= self._settings.limits.share:
            store.pauses.pause("flow", flow.name, f"drift: {incident.message}", "flowrun serve")
