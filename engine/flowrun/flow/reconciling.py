"""What ``reconcile`` says of the target: fields that are there, an object that can be listed."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from flowrun.connector import ObjectInfo
from flowrun.document import Map, Node, Scalar
from flowrun.flow.model import Target
from flowrun.flow.reading import Reader


def check_reconcile(
    reader: Reader, source: Node | None, target: Target | None, info: ObjectInfo | None, mapped: Collection[str]
) -> None:
    """source: the box. info: of the target's object. mapped: the fields that the map fills."""
    node = source.get("reconcile") if isinstance(source, Map) else None
    if not isinstance(node, Map) or target is None:
        return
    shape = target.shape
    for box, name, at in _fields(reader, node):
        if shape is not None and name not in shape.fields:
            message = f"{box}: {shape.name} has no field '{name}'"
            if shape.closed:
                reader.say_unknown("FR207", message, at, name, shape.fields)
            else:
                reader.say("FR207", message, at, severity="lint")
        elif box == "compare" and name not in mapped:
            help = f"map: {{ {name}: … }}, or totals: to compare sums"
            reader.say("FR207", f"compare: the map does not fill '{name}'", at, help=help)
    owns = node.get("owns")
    if owns is not None and info is not None and not info.readable:
        reader.say("FR162", f"owns: {target.connection} cannot list '{target.object}'", owns, help=info.note)
    elif isinstance(owns, Map) and info is not None and info.filters is not None:
        for entry in owns.entries:
            if entry.key.text not in info.filters:
                help = f"it can by: {', '.join(info.filters)}" if info.filters else "owns: all, if it is so"
                message = f"the target cannot filter by '{entry.key.text}'"
                reader.say_unknown("FR163", message, entry.key, entry.key.text, info.filters, help=help)


def _fields(reader: Reader, node: Map) -> Iterator[tuple[str, str, Node]]:
    """(box, name of a target's field, where it stands)."""
    compare = node.get("compare")
    for item in reader.items(compare, "compare") if compare is not None else ():
        if isinstance(item, Scalar):
            yield "compare", item.text, item
    for box in ("owns", "totals", "per"):
        inner = node.get(box)
        for entry in inner.entries if isinstance(inner, Map) else ():
            yield box, entry.key.text, entry.key
