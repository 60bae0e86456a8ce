"""One value of a record, named by its path, is corrected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowrun.errors import ProjectError


def put(payload: Any, path: str, made: Callable[[Any], Any]) -> None:
    """path: ``items[0].sku``; all but its last name must be there. made: from the old value, None when there is none,
    to the new one. Raises ProjectError."""
    at = payload
    parts = path.replace("]", "").replace("[", ".").split(".")
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if isinstance(at, list):
            if not (part.isascii() and part.isdigit()) or len(part) > 9 or int(part) >= len(at):
                raise ProjectError(f"'{path}': there is no place {part}")
            if last:
                at[int(part)] = made(at[int(part)])
            else:
                at = at[int(part)]
        elif isinstance(at, dict):
            if last:
                at[part] = made(at.get(part))
            elif part not in at:
                raise ProjectError(f"'{path}': the record has no '{part}'", help=f"it has: {', '.join(at)}")
            else:
                at = at[part]
        else:
            raise ProjectError(f"'{path}': '{part}' is inside a plain value")
