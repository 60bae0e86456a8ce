"""The contract that flows are checked against, held against what the live system says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flowrun.contract import Field, Shape
from flowrun.drift.findings import Finding, Shown
from flowrun.drift.reads import ROW, Path, Place, spelled
from flowrun.flow.model import Each, FieldMap, Flow, Items, Nested, Value


def compare_contracts(object: str, known: Shape, live: Shape, places: Sequence[Place]) -> list[Finding]:
    """What the live system takes or gives otherwise. Only what some place uses, or what is newly required, counts:
    a field that is merely new hurts nobody."""
    found = []
    for path, words, before, after in _unlike(known, live, ()):
        hurt = tuple(one for one in places if _below(one.path, path))
        if hurt or words == "is required now":
            message = f"{spelled(object, path)} {words}"
            found.append(
                Finding(
                    "contract", spelled(object, path), message, 1.0, Shown("known", before), Shown("live", after), hurt
                )
            )
    return found


def target_places(flow: Flow) -> list[Place]:
    """Where the flow builds each field of the target, by its path in the body."""
    return list(_built(flow.map, ()))


def _built(fields: FieldMap, above: Path) -> Iterator[Place]:
    for one in fields.fields:
        path = (*above, *one.path)
        yield Place(path, f"map.{'.'.join(path)}", one.span.file, one.span.line)
        yield from _inside(one.value, path)


def _inside(value: Value, path: Path) -> Iterator[Place]:
    origin = value.origin
    if isinstance(origin, Each):
        yield from _built(origin.map, (*path, ROW))
    elif isinstance(origin, Nested):
        yield from _built(origin.map, path)
    elif isinstance(origin, Items):
        for item in origin.values:
            yield from _inside(item, (*path, ROW))


def _below(path: Path, above: Path) -> bool:
    return path[: len(above)] == above


def _unlike(known: Shape, live: Shape, above: Path) -> Iterator[tuple[Path, str, str, str]]:
    """(path, what is different, before, after)."""
    for name, old in known.fields.items():
        path, new = (*above, name), live.fields.get(name)
        if new is None:
            if live.closed:
                yield path, "is gone", _words(old), "no such field"
            continue
        yield from _field(old, new, path)
    for name, new in live.fields.items():
        if name not in known.fields and new.required:
            yield (*above, name), "is required now", "no such field", _words(new)


def _field(old: Field, new: Field, path: Path) -> Iterator[tuple[Path, str, str, str]]:
    if old.type != new.type and "any" not in (old.type, new.type):
        yield path, f"is {new.type} now, it was {old.type}", _words(old), _words(new)
        return
    if _less(new.max_length, old.max_length):
        yield (
            path,
            f"takes {new.max_length} characters now, it took {old.max_length or 'any number'}",
            _words(old),
            _words(new),
        )
    if _less(new.precision, old.precision) or _less(new.scale, old.scale):
        yield path, "takes fewer digits now", _words(old), _words(new)
    if new.required and not old.required:
        yield path, "is required now", _words(old), _words(new)
    if old.creatable and not new.creatable:
        yield path, "cannot be set on create any more", _words(old), _words(new)
    if old.updatable and not new.updatable:
        yield path, "cannot be changed any more", _words(old), _words(new)
    if new.enum and (set(old.enum) - set(new.enum) or not old.enum):
        lost = ", ".join(sorted(set(old.enum) - set(new.enum)))
        yield (
            path,
            f"does not take {lost} any more" if lost else "takes certain values only now",
            _words(old),
            _words(new),
        )
    if old.enum and set(new.enum) - set(old.enum):
        yield path, f"may be {', '.join(sorted(set(new.enum) - set(old.enum)))} now", _words(old), _words(new)
    if old.shape is not None and new.shape is not None:
        yield from _unlike(old.shape, new.shape, path)
    if old.item is not None and new.item is not None:
        if old.item.shape is not None and new.item.shape is not None:
            yield from _unlike(old.item.shape, new.item.shape, (*path, ROW))
        elif old.item.type != new.item.type:
            yield (*path, ROW), f"is {new.item.type} now, it was {old.item.type}", _words(old.item), _words(new.item)


def _less(new: int | None, old: int | None) -> bool:
    return new is not None and (old is None or new < old)


def _words(field: Field) -> str:
    facts: list[str] = [field.type]
    facts += [f"at most {field.max_length} characters"] if field.max_length is not None else []
    facts += [f"{field.precision} digits, {field.scale or 0} of them decimals"] if field.precision is not None else []
    facts += [name for name in ("required", "key") if getattr(field, name)]
    facts += [] if field.creatable else ["not on create"]
    facts += [] if field.updatable else ["not on update"]
    facts += [f"one of {', '.join(field.enum[:10])}"] if field.enum else []
    return ", ".join(facts)
