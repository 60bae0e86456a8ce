"""A folder of files, and the connector over it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flowrun.connections import build
from flowrun.connector import Cursor, Item, Page, Query
from flowrun_connectors.file.connector import File

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def connect(folder: Path, **settings: Any) -> Any:
    return build(File, "files", {"root": ".", **settings}, now=lambda: NOW, root=folder)


def put(root: Path, name: str, content: str | bytes, *, age: float = 60.0) -> Path:
    """A file that was last changed ``age`` seconds before NOW."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    at = NOW.timestamp() - age
    os.utime(path, (at, at))
    return path


def pages(
    files: Any, object: str, since: Cursor | None = None, *, size: int | None = None, full: bool = False
) -> list[Page]:
    return list(files.read(Query(object, since, None if full else "modified", page_size=size)))


def rows(files: Any, object: str, since: Cursor | None = None, **more: Any) -> list[dict[str, Any]]:
    return [dict(record) for page in pages(files, object, since, **more) for record in page.records]


def cursor(found: list[Page]) -> Cursor:
    return [page.cursor for page in found if page.cursor is not None][-1]


def create(object: str, body: Mapping[str, Any], action: str = "create", match: tuple[str, ...] = ()) -> Item:
    return Item(object, action, body, "key", match)
