"""Values that name things: keys, versions, lanes, saved ids. Each is one value, and what names a record rests on the
record and the flow's own tables alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flowrun.flow.known import static
from flowrun.flow.model import Each, Items, Lookup, Nested, Source, Target, Value
from flowrun.flow.needs import all_needs, needs_of_value
from flowrun.flow.reading import Reader, Scope

_ELSEWHERE = {"xref": "a cross-reference", "connection": "another system"}


def check_one_value(reader: Reader, named: tuple[str, Value | None], scope: Scope) -> None:
    """A key is one value: not a list, not an object."""
    what, value = named
    if value is None:
        return
    kind = static(reader, value, scope).type
    built = isinstance(value.origin, Each | Items | Nested) and not value.converters
    if built or kind in ("list", "object"):
        shown = "an object" if kind == "object" else "a list"
        help = 'join the parts: "{{ … }}-{{ … }}"'
        reader.say("FR031", f"{what} is one value, not {shown}", value.span, help=help)


def check_identity(
    reader: Reader, source: Source | None, target: Target | None, lookups: Mapping[str, Lookup], graph: Needs
) -> None:
    """graph: name of a rule, ``vars.NAME`` or ``lookups.NAME`` → what it needs."""
    for what, value in _identity(source):
        for lookup in _asked(value, lookups, graph):
            if lookup.kind in _ELSEWHERE:
                reader.say(
                    "FR171",
                    f"{what} cannot rest on lookup '{lookup.name}': its answer changes with what was written before",
                    value.span,
                    help="the same record always has the same identity: use its own fields, or a table of the flow",
                )
            elif lookup.on_miss.action == "skip":
                reader.say(
                    "FR171",
                    f"{what} cannot skip: lookup '{lookup.name}' says on_miss: skip",
                    value.span,
                    help="a record is known by its key before it is skipped; write on_miss: error or { use: … }",
                )
    for value in _after_the_answer(target):
        for lookup in _asked(value, lookups, graph):
            if lookup.kind in _ELSEWHERE or lookup.on_miss.action == "skip":
                how = _ELSEWHERE.get(lookup.kind, "a table that may skip")
                reader.say(
                    "FR171",
                    f"what reads the answer cannot ask {how} any more: lookup '{lookup.name}'",
                    value.span,
                    help="name the looked up value under vars:, and read the answer without a lookup",
                )


Needs = Mapping[str, set[str]]


def _identity(source: Source | None) -> Iterator[tuple[str, Value]]:
    if source is not None:
        named = {"key": source.key, "version": source.version, "keep_order_by": source.keep_order_by}
        yield from ((name, value) for name, value in named.items() if value is not None)


def _after_the_answer(target: Target | None) -> Iterator[Value]:
    for save in target.save if target is not None else ():
        yield from (one for one in (save.source_id, save.target_id) if "response" in needs_of_value(one))


def _asked(value: Value, lookups: Mapping[str, Lookup], graph: Needs) -> Iterator[Lookup]:
    for name in sorted(all_needs(needs_of_value(value), graph)):
        box, _, rest = name.partition(".")
        if box == "lookups" and rest in lookups:
            yield lookups[rest]
