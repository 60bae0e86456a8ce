"""What the project's connections can do and which fields their objects have, asked offline."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from flowrun.connector import Connector, ObjectInfo, Registry
from flowrun.contract import Field, FieldType, Shape
from flowrun.errors import ProjectError
from flowrun.project import Project
from flowrun.values import decode_json, encode_json

SAMPLE_BYTES = 1_000_000  # as much of a samples file as the checker reads


class Systems:
    """Pinned contracts (``contracts/CONNECTION/OBJECT.json``) stand before the connector's own; samples
    (``samples/CONNECTION/OBJECT.jsonl``) speak where there is neither."""

    def __init__(self, project: Project, registry: Registry) -> None:
        self.project = project
        self.registry = registry
        self._shapes: dict[tuple[str, str], Shape | None] = {}
        self._samples: dict[tuple[str, str], list[Any]] = {}
        self._digests: dict[int, tuple[Shape | None, bytes]] = {}
        self._infos: dict[tuple[str, str], ObjectInfo | None] = {}

    def connector(self, connection: str) -> type[Connector] | None:
        spec = self.project.connections.get(connection)
        if spec is None or spec.connector not in self.registry:
            return None
        return self.registry[spec.connector]

    def settings(self, connection: str) -> dict[str, Any]:
        """As written, without secrets; a folder is told from the project's root on."""
        spec = self.project.connections.get(connection)
        found = spec.public() if spec else {}
        if "root" in found and hasattr(self.connector(connection), "takes_root"):
            found["root"] = str(self.project.root / str(found["root"]))
        return found

    def info(self, connection: str, object: str) -> ObjectInfo | None:
        key = (connection, object)
        if key not in self._infos:
            cls = self.connector(connection)
            self._infos[key] = cls.object_info(object, self.settings(connection)) if cls else None
        return self._infos[key]

    def shape(self, connection: str, object: str) -> Shape | None:
        key = (connection, object)
        if key not in self._shapes:
            self._shapes[key] = self._pinned(*key) or self._own(*key) or self._sampled(*key)
        return self._shapes[key]

    def samples(self, connection: str, object: str) -> list[Any]:
        """Real records, masked; [] when there are none. Raises ProjectError when the file cannot be read."""
        key = (connection, object)
        if key not in self._samples:
            path = self.file("samples", connection, f"{object}.jsonl")
            self._samples[key] = _read_samples(path) if path is not None else []
        return self._samples[key]

    def digest(self, shape: Shape | None) -> bytes:
        """Of everything a contract says."""
        if id(shape) not in self._digests:
            text = encode_json(shape.to_json()) if shape is not None else b""
            self._digests[id(shape)] = (shape, hashlib.sha256(text).digest())
        return self._digests[id(shape)][1]

    def file(self, folder: str, connection: str, name: str) -> Path | None:
        """A file of the project by names that a flow gives; None when it is not there or lies elsewhere."""
        base = (self.project.root / folder).resolve()
        try:
            path = (base / connection / name).resolve()
            return path if path.is_relative_to(base) and path.is_file() else None
        except OSError:  # a name that no file can have
            return None

    def _own(self, connection: str, object: str) -> Shape | None:
        cls = self.connector(connection)
        return cls.describe(object, self.settings(connection)) if cls else None

    def _pinned(self, connection: str, object: str) -> Shape | None:
        path = self.file("contracts", connection, f"{object}.json")
        if path is None:
            return None
        try:
            return Shape.from_json(decode_json(path.read_bytes()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ProjectError(
                f"{path} is no contract file: {error}", help="flowrun connections pull-contract"
            ) from None

    def _sampled(self, connection: str, object: str) -> Shape | None:
        records = [record for record in self.samples(connection, object) if isinstance(record, Mapping)]
        if not records:
            return None
        return _shape(object, records, f"samples/{connection}/{object}.jsonl")


def _read_samples(path: Path) -> list[Any]:
    with path.open("rb") as file:
        lines = file.read(SAMPLE_BYTES).splitlines()
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.append(decode_json(line))
        except ValueError as error:
            if number == len(lines) and path.stat().st_size > SAMPLE_BYTES:
                break  # cut in the middle by the limit
            raise ProjectError(f"{path}:{number}: not JSON: {error}", help="one record a line") from None
    return found


def _shape(name: str, records: Iterable[Mapping[str, Any]], source: str) -> Shape:
    """What records have in common: an open shape, since a field that was never seen may still exist."""
    values: dict[str, list[Any]] = {}
    for record in records:
        for key, value in record.items():
            values.setdefault(key, []).append(value)
    return Shape(name, {key: _field(key, seen, source) for key, seen in values.items()}, closed=False, source=source)


def _field(name: str, values: list[Any], source: str) -> Field:
    seen = [value for value in values if value is not None]
    kinds = {_kind(value) for value in seen}
    if kinds == {"integer", "decimal"}:
        return Field(name, "decimal")
    if len(kinds) != 1:
        return Field(name)
    kind = kinds.pop()
    if kind == "object":
        return Field(name, kind, shape=_shape(name, seen, source))
    if kind == "list":
        return Field(name, kind, item=_field("", [item for value in seen for item in value], source))
    return Field(name, kind)


def _kind(value: Any) -> FieldType:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, Decimal):
        return "decimal"
    if isinstance(value, str):
        return "text"
    return "object" if isinstance(value, Mapping) else "list"
