"""What a service serves: a project's flows, compiled for one environment, with their connections and their store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowrun.connector import Registry
from flowrun.errors import InvalidFlow, ProjectError
from flowrun.flow import check_project
from flowrun.flow.model import Flow, Webhook
from flowrun.plan import Plan, compile_plan
from flowrun.project import Environment, Project
from flowrun.store import Store


@dataclass(frozen=True, slots=True)
class Deployed:
    flow: Flow
    plan: Plan


@dataclass(frozen=True, slots=True)
class Deployment:
    """connections: ready connectors by name."""

    project: Project
    environment: Environment
    flows: Mapping[str, Deployed]
    connections: Mapping[str, Any]
    store: Store

    def names(self) -> list[str]:
        return list(self.flows)


def load_flows(project: Project, environment: Environment, registry: Registry) -> dict[str, Deployed]:
    """Every flow of the project, by name. Raises InvalidFlow with all mistakes of all files, since a service that
    leaves one out would let its events wait unseen; ProjectError when there is none."""
    checked = check_project(project, registry)
    wrong = [one for one in checked.diagnostics if one.severity == "error"]
    if wrong:
        raise InvalidFlow(wrong)
    if not checked.flows:
        raise ProjectError("there is no flow to serve", help="flowrun init   (or write one under flows/)")
    flows = sorted(checked.flows, key=lambda flow: flow.name)
    return {flow.name: Deployed(flow, compile_plan(flow, environment.values)) for flow in flows}


def queues_of(
    project: Project, environment: Environment, registry: Registry, flows: Mapping[str, Deployed]
) -> list[str]:
    """Connections that bring the events of one that flows listen to."""
    heard = {one.flow.source.connection for one in flows.values() if isinstance(one.flow.source.trigger, Webhook)}
    found = []
    for name in project.connections:
        spec = project.connection(name, environment)
        cls = registry.get(spec.connector)
        if cls is not None and hasattr(cls, "pull") and spec.public().get("brings") in heard:
            found.append(name)
    return found


def connections_of(flows: Mapping[str, Deployed]) -> tuple[str, ...]:
    """Names of all connections that the flows use."""
    found: dict[str, None] = {}
    for one in flows.values():
        flow = one.flow
        found.update(dict.fromkeys((flow.source.connection, flow.target.connection, *flow.asked)))
    return tuple(found)
