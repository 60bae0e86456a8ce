"""What both ends of a flow have: a connection and an object of it."""

from __future__ import annotations

from flowrun.connector import ObjectInfo
from flowrun.document import Node
from flowrun.flow.reading import Reader
from flowrun.flow.systems import Systems


def read_connection(r: Reader, systems: Systems, node: Node | None) -> tuple[str, str]:
    """(connection, connector), both "" after saying that there is none."""
    project = systems.project
    name = r.text(node, "connection")
    if node is None or not name:
        return "", ""
    if name not in project.connections:
        help = f"flowrun.yaml has: {', '.join(project.connections) or 'none'}"
        r.say_unknown("FR151", f"no connection is named '{name}'", node, name, project.connections, help=help)
        return "", ""
    connector = project.connections[name].connector
    if connector not in systems.registry:
        return name, ""  # said where flowrun.yaml names the connector
    return name, connector


def read_object(r: Reader, systems: Systems, connection: str, node: Node | None) -> tuple[str, ObjectInfo | None]:
    name = r.text(node, "object")
    cls = systems.connector(connection) if connection else None
    if node is None or not name or cls is None:
        return name, None
    info = systems.info(connection, name)
    if info is None:
        known = list(cls.objects(systems.settings(connection)))
        help = f"it has: {', '.join(known)}"
        r.say_unknown("FR159", f"connection '{connection}' has no object '{name}'", node, name, known, help=help)
    return name, info
