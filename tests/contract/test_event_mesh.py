"""The suite that every connector passes, for Event Mesh; what its queues promise stands in tests/event_mesh."""

from __future__ import annotations

from flowrun.testing.contract_suite import NOW, contract_tests
from flowrun_connectors.event_mesh.connector import EventMesh
from flowrun_connectors.event_mesh.simulator import EventMeshSimulator


class Broker(EventMeshSimulator):
    def __init__(self, **more: object) -> None:
        super().__init__(now=lambda: NOW, **more)  # type: ignore[arg-type]


TestEventMesh = contract_tests(EventMesh, simulator=Broker, described=False)
