"""What most commands begin with: the project, a flow, its plan in an environment."""

from __future__ import annotations

from pathlib import Path

from flowrun.connector import Registry, discover
from flowrun.flow import load_flow
from flowrun.flow.model import Flow
from flowrun.plan import Plan, compile_plan
from flowrun.project import Project, load_project


def open_flow(name_or_path: str, env: str | None) -> tuple[Project, Registry, Flow, Plan]:
    """Raises InvalidFlow or ProjectError."""
    path = Path(name_or_path)
    project = load_project(path if path.exists() else Path.cwd())
    registry = discover()
    flow = load_flow(name_or_path, project, registry)
    return project, registry, flow, compile_plan(flow, project.environment(env).values)
