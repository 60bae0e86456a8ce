"""The OpenAPI 3.1 document, made of the table that serves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from flowrun import __version__
from flowrun.service.admin.routes import MOST_NUMBER, ROOT, Route

_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "help": {"type": "string", "description": "What to do next."},
    },
}


def document(routes: Sequence[Route]) -> dict[str, Any]:
    kinds = [one for route in routes for one in (route.answer, route.body) if one is not None]
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    named = dict(zip(map(_id, kinds), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        at = paths.setdefault("/" + "/".join(_shown(part) for part in route.parts), {})
        at[route.method.lower()] = _operation(route, named)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "flowrun admin API",
            "version": __version__,
            "description": "Every call needs a token (flowrun tokens add NAME --role …). Each operation names the "
            "role it needs in x-role: viewer, operator or admin; each may do what those before it may. Times are UTC.",
        },
        "servers": [{"url": ROOT}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {**components, "Problem": _PROBLEM},
        },
    }


def _operation(route: Route, schemas: dict[int, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.words,
        "x-role": route.role,
        "x-audited": route.changes,
        "parameters": [*_of_path(route), *_of_query(route)],
        "responses": {
            "200": {
                "description": "It is so.",
                "content": {"application/json": {"schema": schemas[_id(route.answer)]}},
            },
            "default": {
                "description": "Why not, after RFC 9457.",
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        },
    }
    if route.body is not None:
        content = {"application/json": {"schema": schemas[_id(route.body)]}}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _of_path(route: Route) -> list[dict[str, Any]]:
    found = []
    for part in route.parts:
        if part.startswith("{"):
            name, _, kind = part.strip("{}").partition(":")
            text = {"type": "string", "minLength": 1, "maxLength": 1000}
            schema = {"type": "integer", "minimum": 0, "maximum": MOST_NUMBER} if kind == "int" else text
            found.append({"name": name, "in": "path", "required": True, "schema": schema})
    return found


def _of_query(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": one.name, "in": "query", "required": False, "description": one.words, "schema": one.schema()}
        for one in route.params
    ]


def _shown(part: str) -> str:
    return part.partition(":")[0] + "}" if ":" in part else part


def _id(kind: Any) -> int:
    return id(kind)
