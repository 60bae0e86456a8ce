"""Right-hand sides: short forms and long forms → Value; blocks of fields."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from flowrun.diagnostics import Fix, near, surely
from flowrun.document import Entry, Map, Node, Scalar, Seq
from flowrun.errors import ExpressionError
from flowrun.expressions.converters import CONVERTERS, Converter, check_call, parse_call
from flowrun.flow.compounds import Fragment, read_each, read_first, read_use
from flowrun.flow.known import check_projection, convertible, no_overlap
from flowrun.flow.model import (
    ConverterCall,
    Each,
    Expr,
    FieldMap,
    FieldMapping,
    Items,
    Key,
    Literal_,
    Nested,
    Origin,
    Value,
)
from flowrun.flow.reading import Reader, Scope
from flowrun.flow.words import ORIGINS, VALUE
from flowrun.project import constant, unquoted

if TYPE_CHECKING:
    pass

PARTS_MAX = 60  # of a dotted name
_PATH = re.compile(r"\w+(\.\w+)*")
_TEMPLATE = re.compile(r"\{\{|\{%")
_EMPTY_MAP_HELP = "a nested object is written  NAME: { map: { … } }  or  NAME.FIELD: …"


class Values:
    """Reads right-hand sides with a Reader.

    lookups: names of tables, each with how many key columns it has (0: not known). used: tables that some value named.
    partial: the fields of the flow's map that are right, once it was read; attempted: the names of all of them.
    own: converters of the project; broken: those that could not be loaded.
    fragments_here: fragments that this flow uses. known: what is known of a value by its id, while it is alive here.
    """

    def __init__(
        self,
        reader: Reader,
        lookups: Mapping[str, int],
        fragments: Mapping[str, Fragment],
        fragments_used: set[str] | None = None,
        own: Mapping[str, Converter] | None = None,
        broken: Collection[str] = (),
    ) -> None:
        self.reader = reader
        self.lookups = lookups
        self.fragments = fragments
        self.converters = {**CONVERTERS, **own} if own else CONVERTERS
        self.broken_converters = broken
        self.used: set[str] = set()
        self.partial: FieldMap | None = None
        self.attempted: set[str] = set()
        self.fragments_here: set[str] = set()
        self.fragments_used = fragments_used if fragments_used is not None else set()
        self.known: dict[int, tuple[Value, Scope]] = {}
        self.using: list[str] = []

    # -- one value -------------------------------------------------------------------------------------------------

    def value(self, node: Node | None, scope: Scope, what: str = "the value", box: Any = VALUE) -> Value | None:
        """The Value of a right-hand side; None after saying what is wrong."""
        r = self.reader
        if node is None:
            return None
        if isinstance(node, Scalar):
            return self._short(node, scope, what)
        if isinstance(node, Seq):
            values = [self.value(item, scope, what) for item in node.items]
            return Value(Items(tuple(v for v in values if v)), node.span) if all(values) else None
        assert isinstance(node, Map)
        if not any(entry.key.text in VALUE for entry in node.entries):
            self._refuse_nesting(node)
            return None
        before = len(r.found)
        parts = r.box(node, box, "a value")
        origin = self._origin(node, parts, scope, what)
        lookup, lookup_span = self._lookup(parts.get("lookup"), origin)
        converters = self._converters(parts.get("as"))
        default = self.default(parts["default"], scope, "default") if "default" in parts else None
        blank = r.word(parts.get("blank"), "blank", ("keep",))
        null = r.word(parts.get("null"), "null", ("send",))
        when = r.expression(parts.get("when"), "calc", scope, "when") if box is VALUE else None
        for name in ("where", "number", "at_least", "empty"):
            if name in parts and "each" not in parts:
                r.say("FR041", f"'{name}' belongs to 'each'", _key(node, name))
        if lookup is not None and isinstance(origin, Each | Items | Nested):
            r.say("FR041", "'lookup' takes one value as its key, not a list or an object", _key(node, "lookup"))
        if "with" in parts and "use" not in parts:
            r.say("FR041", "'with' belongs to 'use'", _key(node, "with"))
        optional = r.boolean(parts.get("optional"), "optional")
        if optional and default is not None:
            r.say(
                "FR042",
                "'optional' means nothing beside 'default'",
                _key(node, "optional"),
                severity="lint",
                help="a default always gives a value: keep one of the two",
            )
        if any(d.severity == "error" for d in r.found[before:]) or origin is None:
            return None
        made = Value(
            origin,
            node.span,
            when=when,
            lookup=lookup,
            lookup_span=lookup_span,
            converters=converters,
            default=default,
            optional=optional,
            keep_blank=bool(blank),
            null_send=bool(null),
        )
        self.known[id(made)] = (made, scope)
        return made if convertible(self.reader, made, scope) else None

    def _short(self, node: Scalar, scope: Scope, what: str) -> Value | None:
        r = self.reader
        if node.is_null:
            r.say("FR033", f"{what} is empty", node, help="write where it comes from, or { value: null }")
            return None
        if _TEMPLATE.search(node.text):
            return self._expr(r.expression(node, "template", scope, what), node, scope)
        if not node.plain and not isinstance(unquoted(node.text), str):
            self._constant_meant(node)
            return None
        if node.plain and not isinstance(constant(node), str):
            self._constant_meant(node)
            return None
        return self._expr(r.expression(node, "jmespath", scope, what), node, scope)

    def _expr(self, expr: Expr | None, node: Node, scope: Scope) -> Value | None:
        if expr is None:
            return None
        made = Value(expr, node.span)
        self.known[id(made)] = (made, scope)
        return made

    def _constant_meant(self, node: Scalar) -> None:
        shown = node.text if node.plain else f'"{node.text}"'
        self.reader.say(
            "FR105",
            f"'{node.text}' is a constant, not a path",
            node,
            help=f"write {{ value: {shown} }}",
            fix=Fix(node.span.start, node.span.end, f"{{ value: {shown} }}"),
        )

    def _refuse_nesting(self, node: Map) -> None:
        r = self.reader
        if not node.entries:
            r.say("FR044", "an empty object says nothing", node, help=_EMPTY_MAP_HELP)
            return
        first = node.entries[0]
        if node.keys() in (["secret"], ["env"]):
            r.say(
                "FR196",
                f"{{ {first.key.text}: … }} stands in flowrun.yaml only: in connections and alerts",
                node,
                help="what a flow may know of the environment is declared under values: and read as env.NAME",
            )
            return
        guess = near(first.key.text, VALUE)
        if guess is not None and len(node.entries) == 1:
            r.unknown_key(first, VALUE, "a value")
            return
        r.say("FR044", f"'{first.key.text}' is no way to say where a value comes from", first.key, help=_EMPTY_MAP_HELP)

    # -- origins ---------------------------------------------------------------------------------------------------

    def _origin(self, node: Map, parts: Mapping[str, Node], scope: Scope, what: str) -> Origin | None:
        r = self.reader
        written = [name for name in ORIGINS if name in parts]
        if "each" in written and "map" in written:
            written.remove("map")
        if "lookup" not in parts and "key" in written:
            r.say("FR041", "'key' belongs to 'lookup'", _key(node, "key"))
            return None
        if len(written) != 1:
            if not written:
                r.say(
                    "FR045",
                    "nothing says where the value comes from",
                    r.head(node),
                    help="one of: from, text, calc, value, first, each, map, use, lookup + key",
                )
            else:
                both = " and ".join(f"'{name}'" for name in written)
                r.say("FR045", f"{both} both say where the value comes from", _key(node, written[1]), help="keep one")
            return None
        name = written[0]
        part = parts[name]
        if name == "from":
            if isinstance(part, Scalar) and _TEMPLATE.search(part.text):
                r.say(
                    "FR046",
                    "'from' takes a path, not a template",
                    part,
                    help="write text: for a template",
                    fix=_rename(node, "from", "text"),
                )
                return None
            return r.expression(part, "jmespath", scope, what)
        if name in ("text", "calc"):
            if name == "calc" and isinstance(part, Scalar) and _TEMPLATE.search(part.text):
                r.say("FR046", "'calc' is written without braces", part, help="write text: for a template")
                return None
            return r.expression(part, "template" if name == "text" else "calc", scope, what)
        if name == "value":
            if not isinstance(part, Scalar):
                r.say("FR031", "'value' is one constant", part, help="a list is written as a list of values")
                return None
            return Literal_(constant(part))
        if name == "first":
            return read_first(self, part, scope)
        if name == "each":
            return read_each(self, node, parts, scope)
        if name == "map":
            fields = self.map(part, scope)
            return Nested(fields) if fields else None
        if name == "use":
            return read_use(self, node, parts, scope)
        keys = [self.value(item, scope, "key") for item in r.items(part, "key")]
        return Key(tuple(k for k in keys if k)) if keys and all(keys) else None

    # -- the rest of a value ---------------------------------------------------------------------------------------

    def _lookup(self, node: Node | None, origin: Origin | None) -> tuple[str | None, Any]:
        if node is None:
            return None, None
        name = self.reader.text(node, "lookup")
        if name not in self.lookups:
            help = f"lookups of this flow: {', '.join(self.lookups) or 'none'}"
            self.reader.say_unknown("FR150", f"no lookup named '{name}'", node, name, self.lookups, help=help)
            return None, None
        self.used.add(name)
        wanted, given = self.lookups[name], len(origin.parts) if isinstance(origin, Key) else 1
        if wanted and origin is not None and given != wanted:
            parts = f"{given} part{'s' * (given != 1)}"
            self.reader.say(
                "FR145",
                f"lookup '{name}' has {wanted} key column{'s' * (wanted != 1)}; the key here has {parts}",
                node,
                help=f"key: [{', '.join(['…'] * wanted)}]",
            )
        return name, node.span

    def _converters(self, node: Node | None) -> tuple[ConverterCall, ...]:
        r = self.reader
        calls = []
        for item in r.items(node, "as"):
            if not isinstance(item, Scalar):
                r.say("FR031", "a converter is a word with its arguments", item, help="as: [trim, truncate 35]")
                continue
            try:
                name, args = parse_call(item.text)
                if name in self.broken_converters:
                    continue  # said in flowrun.yaml
                found = check_call(name, args, self.converters)
            except ExpressionError as error:
                span = item.document.offset_span(item, error.offset, error.length)
                guess = error.help.split("'")[1] if error.help.startswith("did you mean") else None
                certain = guess is not None and error.code == "FR120" and surely(_wrong(item.text, error), guess)
                fix = Fix(span.start, span.end, guess) if guess and certain else None
                r.say(error.code, error.message, span, help=error.help, fix=fix)
                continue
            calls.append(ConverterCall(name, args, item.span, found))
        return tuple(calls)

    def default(self, node: Node, scope: Scope, what: str) -> Value | None:
        """A constant, or a value written as a mapping. what: ``default`` or ``use``."""
        if isinstance(node, Map):
            return self.value(node, scope, what)
        if not isinstance(node, Scalar):
            self.reader.say("FR031", f"'{what}' is a constant or {{ from: … }}", node)
            return None
        first = re.match(r"[A-Za-z_][A-Za-z0-9_]*", node.text) if node.plain else None
        if first and first.group() in scope:
            instead = f"{{ from: {node.text} }}"
            self.reader.say(
                "FR132",
                f"'{node.text}' would be sent as these very letters",
                node,
                help=f"to read it write {what}: {instead}; quote it if you mean the text",
                fix=Fix(node.span.start, node.span.end, f"{{ from: {node.text} }}")
                if _PATH.fullmatch(node.text)
                else None,
            )
            return None
        return Value(Literal_(constant(node)), node.span)

    # -- maps ------------------------------------------------------------------------------------------------------

    def map(self, node: Node | None, scope: Scope, *, top: bool = False) -> FieldMap | None:
        """A block of fields; None when one of them is wrong. top: the flow's own map, kept in ``partial``."""
        r = self.reader
        if node is None:
            return None
        if not isinstance(node, Map) or not node.entries:
            r.say("FR031", "'map' is a block of 'FIELD: where it comes from' lines", node)
            return None
        fields = []
        good = True
        for entry in node.entries:
            mapping = self._field(entry, scope)
            if mapping is None:
                good = False
            else:
                fields.append(mapping)
        good &= no_overlap(r, fields)
        if top:
            self.partial = FieldMap(tuple(fields), node.span)
            self.attempted = {entry.key.text.split(".")[0] for entry in node.entries}
        return FieldMap(tuple(fields), node.span) if good else None

    def _field(self, entry: Entry, scope: Scope) -> FieldMapping | None:
        path = tuple(entry.key.text.split("."))
        if len(path) > PARTS_MAX:
            self.reader.say("FR118", f"a name of more than {PARTS_MAX} parts", entry.key)
            return None
        if not all(path):
            self.reader.say("FR035", f"'{entry.key.text}' is no field name", entry.key)
            return None
        if isinstance(entry.value, Scalar) and entry.value.is_null:
            self.reader.say(
                "FR033",
                f"'{entry.key.text}' has no value",
                entry.key,
                help="write where it comes from, or { value: null }",
            )
            return None
        value = self.value(entry.value, scope, f"'{entry.key.text}'")
        if value is not None:
            check_projection(self.reader, value, entry.value, scope)
        return FieldMapping(path, value, entry.key.span) if value else None


def _key(node: Map, name: str) -> Node:
    entry = node.entry(name)
    return entry.key if entry is not None else node  # a misspelt key stood for it


def _wrong(text: str, error: ExpressionError) -> str:
    return text[error.offset : error.offset + error.length] if error.length else text[error.offset :]


def _rename(node: Map, old: str, new: str) -> Fix:
    span = _key(node, old).span
    return Fix(span.start, span.end, new)
