"""Right-hand sides made of other values: cases, loops, fragments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from flowrun.contract import Field
from flowrun.document import Map, Node, Scalar, Seq
from flowrun.flow.known import ANY, static
from flowrun.flow.model import Case, Each, First, Nested, Value
from flowrun.flow.reading import GRAMMAR, Scope
from flowrun.flow.words import CASE, RESERVED_NAMES

if TYPE_CHECKING:
    from flowrun.document import Document
    from flowrun.flow.rhs import Values

_EACH = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s+in\s+(.+)", re.DOTALL)


class Fragment:
    """A fragment file, read where it is used. needs: the names its caller binds."""

    def __init__(self, name: str, document: Document, needs: tuple[str, ...], map: Map | None) -> None:
        self.name = name
        self.document = document
        self.needs = needs
        self.map = map


def read_first(values: Values, node: Node, scope: Scope) -> First | None:
    r = values.reader
    if not isinstance(node, Seq) or not node.items:
        r.say("FR031", "'first' is a list of cases", node, help="- { when: big_order, value: ZBIG }")
        return None
    cases: list[Case] = []
    conditions: dict[str, Node] = {}
    done = False
    good = True
    for item in node.items:
        if not isinstance(item, Map):
            r.say("FR031", "a case is { when: …, value: … }", item)
            good = False
            continue
        if done:
            r.say(
                "FR130",
                "this case is never reached: the one before has no 'when'",
                r.head(item),
                severity="lint",
                help="move the case without 'when' to the end",
            )
        when_node = item.get("when")
        if isinstance(when_node, Scalar):
            same = conditions.setdefault(" ".join(when_node.text.split()), when_node)
            if same is not when_node:
                r.say(
                    "FR130",
                    "this case is never reached: a case above has the same condition",
                    when_node,
                    severity="lint",
                    related=(("there", same.span),),
                )
        when = r.expression(when_node, "calc", scope, "when") if when_node is not None else None
        rest = Map(item.document, item.start, item.end, [entry for entry in item.entries if entry.key.text != "when"])
        if not rest.entries:
            r.say("FR045", "the case says no value", r.head(item), help="{ when: …, value: … }")
            good = False
            continue
        value = values.value(rest, scope, "the case", CASE)
        if value is None or (when_node is not None and when is None):
            good = False
        elif not done:
            cases.append(Case(when, value, item.span))
        done = done or when_node is None
    if not done:
        r.say(
            "FR131",
            "no case holds when all conditions fail",
            r.head(node.items[-1]),
            help="end with a case that has no 'when': - { value: … }",
        )
        return None
    return First(tuple(cases)) if good else None


def read_each(values: Values, node: Map, parts: Mapping[str, Node], scope: Scope) -> Each | None:
    r = values.reader
    each = parts["each"]
    text = r.text(each, "each")
    found = _EACH.fullmatch(text)
    if found is None or not isinstance(each, Scalar):
        r.say("FR047", "'each' is written: NAME in PATH", each, help="each: line in order.items")
        return None
    name = found.group(1)
    inner: dict[str, Field] = dict(scope)
    if name in RESERVED_NAMES or name in GRAMMAR:
        at = each.document.offset_span(each, found.start(1), len(name))
        r.say("FR048", f"'{name}' has a meaning of its own", at, help="choose another name")
        return None
    if name in scope:
        r.say(
            "FR048",
            f"'{name}' is in scope already; a loop adds a name, it never hides one",
            each.document.offset_span(each, found.start(1), len(name)),
            help="choose another name",
        )
        return None
    at = each.document.offset_span(each, found.start(2), len(found.group(2)))
    path = Scalar(each.document, at.start, at.end, found.group(2))
    items = r.expression(path, "jmespath", scope, "each")
    if items is None:
        return None
    item = static(r, Value(items, path.span), scope)
    inner[name] = (item.item or ANY) if item.type == "list" else ANY
    number = r.name(parts.get("number"), "number") or None
    if number:
        if number in inner or number in RESERVED_NAMES:
            r.say("FR048", f"'{number}' is in scope already", parts["number"], help="choose another name")
        inner[number] = Field(number, "integer")
    where_scope = {k: v for k, v in inner.items() if k != number}
    where = r.expression(parts.get("where"), "calc", where_scope, "where")
    at_least = r.count(parts.get("at_least"), "at_least")
    if "map" not in parts:
        r.say("FR034", "'each' lacks 'map': what a row becomes", r.head(node), help="map: { … }")
        return None
    fields = values.map(parts["map"], inner)
    if fields is None or ("where" in parts and where is None):
        return None
    return Each(name, items, fields, where, number, at_least, bool(r.word(parts.get("empty"), "empty", ("keep",))))


def read_use(values: Values, node: Map, parts: Mapping[str, Node], scope: Scope) -> Nested | None:
    r = values.reader
    name = r.text(parts["use"], "use")
    fragment = values.fragments.get(name)
    if fragment is None:
        help = f"fragments of this project: {', '.join(values.fragments) or 'none'}"
        guess = r.say_unknown(
            "FR152", f"no fragment is named '{name}'", parts["use"], name, values.fragments, help=help
        )
        values.fragments_used.update({guess} if guess else ())  # one mistake, one message
        return None
    if name in values.using:
        r.say("FR049", f"fragment '{name}' uses itself", parts["use"])
        return None
    bindings: list[tuple[str, Value]] = []
    inner: dict[str, Field] = dict(scope)
    given = {entry.key.text: entry for entry in r.entries(parts.get("with"), "with")}
    for need in fragment.needs:
        if need not in given:
            r.say("FR034", f"fragment '{name}' needs '{need}'", parts["use"], help=f"with: {{ {need}: … }}")
            return None
        if need in scope:
            r.say("FR048", f"'{need}' is in scope already", given[need].key, help="rename it in the fragment")
            return None
        value = values.value(given[need].value, scope, need)
        if value is None:
            return None
        bindings.append((need, value))
        inner[need] = static(r, value, scope)
    for key, entry in given.items():
        if key not in fragment.needs:
            r.unknown_key(entry, fragment.needs, f"with: of fragment '{name}'")
    values.using.append(name)
    values.fragments_here.add(name)
    values.fragments_used.add(name)
    try:
        fields = values.map(fragment.map, inner)
    finally:
        values.using.pop()
    return Nested(fields, tuple(bindings), name) if fields else None
