"""A contract from a service's $metadata: the same for the shipped contracts and for a tenant's own.

``python -m flowrun_connectors.s4hana.derive FILE.edmx OBJECT`` prints what ``contracts/OBJECT.json`` holds.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from flowrun.contract import Field, Shape
from flowrun_connectors._odata.edmx import Metadata
from flowrun_connectors.s4hana.objects import SERVICES, Kept, padded


def derive(object: str, metadata: Metadata) -> Shape:
    """The useful part of an object's metadata, with what a create needs and the metadata does not say.

    Raises ConnectorError when the service has no such entity set.
    """
    service = SERVICES[object]
    found = _kept(metadata.shape(object, 4), service.keeps)
    fields = {}
    for name, field in found.fields.items():
        if name in service.keys and service.info.actions:
            field = dataclasses.replace(field, creatable=False)  # the system draws the number
        fields[name] = dataclasses.replace(field, required=field.required or name in service.required)
    return padded(dataclasses.replace(found, fields=fields))


def _kept(shape: Shape, keeps: Kept) -> Shape:
    fields: dict[str, Field] = {}
    for field in shape.fields.values():
        if field.type not in ("list", "object"):
            fields[field.name] = dataclasses.replace(field, title="")  # labels are the vendor's words
        elif field.name in keeps and field.item is not None and field.item.shape is not None:
            inner = dataclasses.replace(field.item, shape=_kept(field.item.shape, keeps[field.name]))
            fields[field.name] = dataclasses.replace(field, item=inner)
        elif field.name in keeps and field.shape is not None:
            fields[field.name] = dataclasses.replace(field, shape=_kept(field.shape, keeps[field.name]))
    return dataclasses.replace(shape, fields=fields)


def text_of(shape: Shape) -> str:
    """One field a line, so that a release's changes show as changed lines."""
    return json.dumps(shape.to_json(), separators=(",", ":")).replace('},{"name"', '},\n{"name"') + "\n"


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[1] not in SERVICES:
        sys.stderr.write(f"usage: derive FILE.edmx OBJECT\nobjects: {', '.join(SERVICES)}\n")
        return 2
    path, object = Path(arguments[0]), arguments[1]
    metadata = Metadata(path.read_bytes(), f"{path.stem} $metadata")
    sys.stdout.write(text_of(derive(object, metadata)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
