"""The box ``steps``: a workflow. Each step sees the answers of the steps above it as ``steps.ID.response``."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from flowrun.connector import ObjectInfo
from flowrun.contract import Field, Shape
from flowrun.diagnostics import Span
from flowrun.document import Entry, Map, Node, Seq
from flowrun.flow import words
from flowrun.flow.ends import read_connection, read_object
from flowrun.flow.fitting import Fitter
from flowrun.flow.model import (
    Branch,
    Choose,
    Doing,
    FieldMap,
    FieldMapping,
    Lookup,
    Read,
    Step,
    Target,
    Value,
    Wait,
    Write,
)
from flowrun.flow.reading import Reader, Scope
from flowrun.flow.rhs import Values
from flowrun.flow.standing import check_one_value
from flowrun.flow.systems import Systems
from flowrun.flow.targets import TargetReader


class StepReader:
    """kinds: step id → its kind, of every step that has an id. maps: what each write step builds, as far as it is
    right, and the names of all its fields."""

    def __init__(
        self,
        reader: Reader,
        values: Values,
        systems: Systems,
        records: dict[tuple[str, int], Field],
        lookups: Mapping[str, Lookup],
    ) -> None:
        self.reader = reader
        self.values = values
        self.systems = systems
        self.lookups = lookups
        self.targets = TargetReader(reader, values, systems, records)
        self.kinds: dict[str, str] = {}
        self.maps: dict[str, tuple[FieldMap | None, set[str]]] = {}
        self._spans: dict[str, Span] = {}
        self._known: dict[str, Field] = {}

    def read(self, node: Node | None, scope: Scope) -> tuple[Step, ...]:
        """The steps that are right."""
        r = self.reader
        if node is None:
            return ()
        if not isinstance(node, Seq):
            r.say("FR031", "'steps' is a list of steps", node, help="- id: NAME")
            return ()
        found = [self._step(item, scope) for item in node.items]
        return tuple(one for one in found if one is not None)

    def _scope(self, scope: Scope) -> dict[str, Field]:
        """With what is known of the steps so far. A scope gains no name once it is used, so each step has its own."""
        shape = Shape("steps", dict(self._known), closed=True, source="steps above")
        return {**scope, "steps": Field("steps", "object", shape=shape)}

    def _step(self, node: Node, scope: Scope) -> Step | None:
        r = self.reader
        if not isinstance(node, Map):
            r.say("FR031", "a step is a block: id, and what it does", node, help="- id: NAME")
            return None
        name = self._id(node.get("id")) if node.get("id") is not None else ""
        for entry in node.entries:
            if entry.key.text in words.LATER_KINDS:
                self._later(entry)
                self._unclear(name)
                return None
        parts = r.box(node, words.STEP, "a step")
        inner = self._scope(scope)
        when = r.expression(parts.get("when"), "calc", inner, "when")
        kinds = [word for word in words.KINDS if word in parts]
        if len(kinds) != 1:
            said = " and ".join(f"'{kind}'" for kind in kinds)
            message = f"{said} are two steps" if kinds else "nothing says what the step does"
            r.say("FR045", message, r.head(node), help=f"exactly one of: {', '.join(words.KINDS)}")
            self._unclear(name)
            return None
        (kind,) = kinds
        if name:
            self.kinds[name] = kind
        does: Doing | None
        if kind == "read":
            does = self._read(name, parts[kind], inner)
        elif kind == "write":
            does = self._write(name, parts[kind], inner)
        elif kind == "wait":
            does = self._wait(name, parts[kind], inner)
        else:
            does = self._choose(name, parts[kind], scope)
        if does is None or not name or (when is None and "when" in parts):
            return None
        return Step(name, does, node.span, when)

    def _later(self, entry: Entry) -> None:
        word = entry.key.text
        help = f"this version has: {', '.join(words.KINDS)}"
        self.reader.say("FR023", f"steps of kind '{word}' come in a later version", entry.key, help=help)

    def _unclear(self, name: str) -> None:
        """What names the step is not wrong because of what is said already."""
        if name:
            self.kinds[name] = ""
            self._known[name] = Field(name)

    def _id(self, node: Node | None) -> str:
        r = self.reader
        name = r.name(node, "a step's id")
        if name and node is not None and name in self._spans:
            related = (("there", self._spans[name]),)
            r.say("FR048", f"another step is named '{name}'", node, related=related, help="choose another id")
            return ""
        if name and node is not None:
            self._spans[name] = node.span
        return name

    def _knows(self, name: str, **fields: Field) -> None:
        if name:
            self._known[name] = Field(name, "object", shape=Shape(name, fields, closed=True, source="steps above"))

    # -- kinds -----------------------------------------------------------------------------------------------------

    def _read(self, name: str, node: Node, scope: Scope) -> Read | None:
        r = self.reader
        parts = r.box(node, words.READ, "read")
        connection, connector, object_, info = self._end(parts)
        self.targets.connections.add(connection)
        shape = self.systems.shape(connection, object_) if connection and object_ else None
        self._knows(name, response=self.targets.response(shape))
        by = self._by(node, parts, info, scope)
        if by is None or not connector:
            return None
        target = Target(connection, connector, object_, "read", node.span)
        return Read(target, by, r.texts(parts.get("expand"), "expand"))

    def _wait(self, name: str, node: Node, scope: Scope) -> Wait | None:
        r = self.reader
        parts = r.box(node, words.WAIT, "wait")
        connection, connector = read_connection(r, self.systems, parts.get("connection"))
        self.targets.connections.add(connection)
        object_, _ = read_object(r, self.systems, connection, parts.get("object"))
        shape = self.systems.shape(connection, object_) if connection and object_ else None
        self._knows(name, response=self.targets.response(shape))
        find = self.find(parts["find"], scope) if "find" in parts else None
        every, most = r.duration(parts.get("every"), "every"), r.duration(parts.get("at_most"), "at_most")
        if find is None or not connector or every is None or most is None:
            return None
        target = Target(connection, connector, object_, "wait", node.span)
        return Wait(target, find, float(every), float(most))

    def _end(self, parts: Mapping[str, Node]) -> tuple[str, str, str, ObjectInfo | None]:
        connection, connector = read_connection(self.reader, self.systems, parts.get("connection"))
        object_, info = read_object(self.reader, self.systems, connection, parts.get("object"))
        if info is not None and not info.by_key:
            message = f"{connection} cannot read one record of '{object_}' by its key"
            self.reader.say("FR162", message, parts["object"], help=info.note)
        return connection, connector, object_, info

    def _by(self, node: Node, parts: Mapping[str, Node], info: ObjectInfo | None, scope: Scope) -> FieldMap | None:
        """Field by field what is looked for."""
        r = self.reader
        if ("key" in parts) == ("find" in parts):
            message = (
                "'key' and 'find' both say what is read" if "key" in parts else "nothing says which record is read"
            )
            r.say("FR045", message, r.head(node), help="key: VALUE, or find: { FIELD: VALUE }")
            return None
        if "find" in parts:
            return self.find(parts["find"], scope)
        if info is not None and len(info.match) < 1:
            help = "find: { FIELD: VALUE }"
            r.say("FR176", f"the key of '{info.name}' is not known", parts["key"], help=help)
            return None
        value = self.values.value(parts["key"], scope, "key")
        check_one_value(r, ("key", value), scope)
        if value is None or info is None:
            return None
        return FieldMap((FieldMapping((info.match[0],), value, parts["key"].span),), parts["key"].span)

    def find(self, node: Node, scope: Scope) -> FieldMap | None:
        r = self.reader
        if not isinstance(node, Map) or not node.entries:
            r.say("FR031", "'find' is a block of 'FIELD: VALUE' lines", node)
            return None
        found: list[FieldMapping] = []
        for entry in node.entries:
            value: Value | None = self.values.value(entry.value, scope, f"'{entry.key.text}'")
            check_one_value(r, (entry.key.text, value), scope)
            if value is not None:
                found.append(FieldMapping((entry.key.text,), value, entry.key.span))
        return FieldMap(tuple(found), node.span) if len(found) == len(node.entries) else None

    def _write(self, name: str, node: Node, scope: Scope) -> Write | None:
        r, values = self.reader, self.values
        if not isinstance(node, Map):
            r.box(node, words.WRITE, "write")
            return None
        parts = r.box(node, words.WRITE, "write")
        rest = [entry for entry in node.entries if entry.key.text in words.TARGET]
        bare = Map(node.document, node.start, node.end, rest)
        bare_parts = {"connection", "object", "action"} & parts.keys()
        target = self.targets.target(bare, scope) if len(bare_parts) == 3 else None
        values.partial, values.attempted = None, set()
        fields = values.map(parts.get("map"), scope, top=True)
        partial = values.partial
        if name:
            self.maps[name] = (partial, values.attempted)
        self._knows(name, response=self.targets.response(target.shape if target is not None else None))
        if target is None or fields is None or partial is None:
            return None
        if target.shape is not None:
            fitter = Fitter(r, values, target.shape, target.action, target.match, self.lookups)
            fields = fitter.fit(partial, target.shape, named=values.attempted)
        mapped = {one.path[0] for one in fields.fields}
        for field in target.match:
            if field not in mapped:
                help = f"map: {{ {field}: … }}"
                r.say("FR184", f"'match: {field}' is not filled by the map", parts["match"], help=help)
        return Write(replace(target, span=node.span), fields)

    def _choose(self, name: str, node: Node, scope: Scope) -> Choose | None:
        r = self.reader
        if not isinstance(node, Seq) or not node.items:
            r.say("FR031", "'choose' is a list of branches", node, help="- { when: …, steps: [ … ] }")
            return None
        branches: list[Branch] = []
        good, last = True, False
        for item in node.items:
            parts = r.box(item, words.BRANCH, "a branch")
            if last:
                help = "move 'otherwise' to the end"
                r.say("FR130", "this branch is never reached: the one above is 'otherwise'", r.head(item), help=help)
            if ("when" in parts) == ("otherwise" in parts):
                r.say("FR045", "a branch has either 'when' or 'otherwise: true'", r.head(item))
                good = False
            when = r.expression(parts.get("when"), "calc", self._scope(scope), "when")
            last = last or r.boolean(parts.get("otherwise"), "otherwise")
            steps_node = parts.get("steps")
            steps = self.read(steps_node, scope)
            named = steps[0].id if steps else "otherwise" if when is None else None
            good &= not ("when" in parts and when is None)
            good &= isinstance(steps_node, Seq) and len(steps) == len(steps_node.items)
            branches.append(Branch(named, when, steps, item.span))
        self._knows(name, branch=Field("branch", "text"))
        return Choose(tuple(branches)) if good else None


def pieces_of(step: Step) -> tuple[Target | None, FieldMap | None]:
    """What of a step holds values that stand by themselves."""
    return (step.does.target, step.does.map) if isinstance(step.does, Read | Write | Wait) else (None, None)
