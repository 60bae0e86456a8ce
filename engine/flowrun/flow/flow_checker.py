"""One file → Flow. Boxes are read in the order in which names come into scope."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flowrun.contract import Field, Shape
from flowrun.diagnostics import Span
from flowrun.document import Document, Map, Node, Scalar
from flowrun.expressions.converters import Converter
from flowrun.flow import words
from flowrun.flow.compounds import Fragment
from flowrun.flow.coverage import check_coverage, check_steps_coverage
from flowrun.flow.examples import TestReader
from flowrun.flow.fitting import Fitter
from flowrun.flow.ignores import unignored
from flowrun.flow.known import ANY, static
from flowrun.flow.model import (
    FieldMap,
    Flow,
    Lookup,
    Policy,
    Requirement,
    Rule,
    Source,
    Step,
    Target,
    Value,
    Var,
    Write,
    every_step,
    targets_of,
)
from flowrun.flow.needs import needs_of_expr, needs_of_lookup, needs_of_value
from flowrun.flow.nesting import Nesting, check_chains, values_of
from flowrun.flow.policies import PolicyReader
from flowrun.flow.privacy import project_mask, read_mask
from flowrun.flow.reading import Analyses, Reader, Scope
from flowrun.flow.reconciling import check_reconcile
from flowrun.flow.rhs import Values
from flowrun.flow.seen import check_codes
from flowrun.flow.sources import SourceReader
from flowrun.flow.standing import check_identity
from flowrun.flow.steps import StepReader, pieces_of
from flowrun.flow.systems import Systems
from flowrun.flow.tables import LookupReader, Tables, key_counts
from flowrun.flow.targets import TargetReader
from flowrun.project import LANGUAGE_VERSION, Project


@dataclass(slots=True)
class Surroundings:
    """What all flows of a project share while they are checked."""

    project: Project
    systems: Systems
    tables: Tables
    fragments: Mapping[str, Fragment]
    analyses: Analyses
    converters: dict[str, Converter] = field(default_factory=dict)  # of the project
    broken: set[str] = field(default_factory=set)  # converters that flowrun.yaml lists and that could not be loaded
    policies: Mapping[str, Policy] = field(default_factory=dict)  # of flowrun.yaml
    fragments_used: set[str] = field(default_factory=set)
    records: dict[tuple[str, int], Field] = field(default_factory=dict)
    _env: Field | None = None

    def env(self) -> Field:
        """``env``: every value that any environment declares."""
        if self._env is None:
            values: dict[str, Any] = {}
            for environment in self.project.environments.values():
                values.update(environment.values)
            fields = {name: Field(name, "text" if isinstance(value, str) else "any") for name, value in values.items()}
            self._env = Field("env", "object", shape=Shape("env", fields, closed=True, source="flowrun.yaml"))
        return self._env


class FlowChecker:
    """Reads one document; what is wrong gathers in ``reader.found``. name, name_span: of the flow, "" without one."""

    def __init__(self, document: Document, around: Surroundings) -> None:
        self.document = document
        self.around = around
        self.reader = Reader(document, around.analyses)
        self.name = ""
        self.name_span = Span(document.file, 1, 1, 1, 1)

    def check(self) -> Flow | None:
        """The Flow, or None when it has an error."""
        r = self.reader
        root = self.document.root
        if root is None:
            r.say("FR020", "the file is empty", self.document.span(0, 0), help="flowrun: 1 …; see: flowrun init")
            return None
        if isinstance(root, Map) and root.get("fragment") is not None:
            r.box(root, words.FRAGMENT, "a fragment")
            return None  # its map is checked where it is used
        parts = r.box(root, words.FLOW, "a flow")
        if not isinstance(root, Map) or not parts:
            return None
        version = parts.get("flowrun")
        if isinstance(version, Scalar) and version.text != LANGUAGE_VERSION:
            message = f"this flowrun speaks version {LANGUAGE_VERSION} of the language, not '{version.text}'"
            r.say("FR021", message, version)
        self._name(parts.get("flow"))
        for word in ("map", "target") if "steps" not in parts else ():
            if word not in parts and root.get(word) is None:
                help = f"{words.FLOW[word].doc}"
                r.say("FR034", f"a flow lacks '{word}'", r.head(root), help=help)
        return self._flow(parts)

    def _name(self, node: Node | None) -> None:
        self.name = self.reader.flow_name(node)
        if node is not None:
            self.name_span = node.span

    def _flow(self, parts: Mapping[str, Node]) -> Flow | None:
        r, around = self.reader, self.around
        counts = key_counts(parts.get("lookups"))
        values = Values(r, counts, around.fragments, around.fragments_used, around.converters, around.broken)
        sources = SourceReader(r, values, around.systems, around.records)
        record, base, shape = sources.source_scope(parts.get("source"))
        base["env"] = around.env()
        scope = self._names(parts, base)
        variables = self._vars(parts.get("vars"), values, scope)
        rules = self._rules(parts.get("rules"), scope)
        lookups = LookupReader(r, values, around.tables, around.systems).lookups(parts.get("lookups"), scope)
        source = sources.source(parts.get("source"), scope, shape)
        require = self._require(parts.get("require"), scope)
        before = len(r.found)
        stepping = StepReader(r, values, around.systems, around.records, lookups)
        steps = self._steps(parts, stepping, scope) if "steps" in parts else ()
        fields = values.map(parts.get("map"), scope, top=True) if "map" in parts else None
        mapped = not any(d.severity == "error" for d in r.found[before:])
        target = TargetReader(r, values, around.systems, around.records).target(parts.get("target"), scope)
        raised = self._raised(parts, stepping.targets.connections)
        policies = PolicyReader(r, around.project.alerts)
        on_error = policies.read(parts.get("on_error"), self.name, around.policies, raised)
        if values.partial is not None and target is not None and target.shape is not None:
            fitter = Fitter(r, values, target.shape, target.action, target.match, lookups)
            fitted = fitter.fit(values.partial, target.shape, named=values.attempted)
            fields = fitted if fields is not None else None
        if target is not None and fields is not None:
            mapped_names = {one.path[0] for one in fields.fields}
            self._match_is_mapped(target.match, mapped_names, parts["target"])
            info = around.systems.info(target.connection, target.object)
            check_reconcile(r, parts.get("source"), target, info, mapped_names)
        partial = values.partial if "steps" not in parts else None
        kinds = stepping.kinds if "steps" in parts else None
        tests = TestReader(r, "group" if "group" in base else record, base, kinds, stepping.maps).read(
            parts.get("tests"), lookups, partial, source, policies.queues(on_error), values.attempted
        )
        mask = read_mask(r, parts.get("privacy"), "group" if "group" in base else record, scope)
        self._env_everywhere()
        if mapped:
            check_coverage(r, parts, tests, partial, self.name_span)
            check_steps_coverage(r, tests, stepping.maps)
            self._unused(parts, values)
        graph = self._graph(variables, rules, lookups)
        if not self._cycles(graph):
            check_chains(r, graph)
            Nesting(r, lookups).check(_values(source, target, fields, variables))
            for step in every_step(steps):
                Nesting(r, lookups).check(_values(None, *pieces_of(step), ()))
        needed = {name: needs for name, (needs, _) in graph.items()}
        check_identity(r, source, target, lookups, needed)
        writes = [step.does for step in every_step(steps) if isinstance(step.does, Write)]
        for write in writes:
            check_identity(r, None, write.target, lookups, needed)
        for one in [fields] if fields is not None else [write.map for write in writes]:
            if source is not None:
                check_codes(r, around.systems, source, one, variables, lookups)
        if writes and target is None and fields is None:
            target, fields = writes[0].target, writes[0].map
        if source is None or target is None or fields is None or self._errors():
            return None
        return Flow(
            name=self.name,
            file=self.document.file,
            title=r.text(parts.get("title"), "title"),
            owner=r.text(parts.get("owner"), "owner"),
            source=source,
            target=target,
            map=fields,
            require=require,
            rules=rules,
            vars=variables,
            lookups=lookups,
            on_error=on_error,
            tests=tests,
            hash=self._hash(
                values, lookups, source.shape, *(one.shape for one in (targets_of(steps) if steps else (target,)))
            ),
            mask=(*mask, *project_mask(around.project.mask, "group" in base)),
            env_names=tuple(around.env().shape.fields) if around.env().shape else (),  # type: ignore[union-attr]
            steps=steps,
        )

    def _steps(self, parts: Mapping[str, Node], stepping: StepReader, scope: Scope) -> tuple[Step, ...]:
        r = self.reader
        for word in ("map", "target"):
            if word in parts:
                help = "a workflow's map and target stand in its steps: write: { … }"
                r.say("FR045", f"'{word}' and 'steps' both say what is done", parts[word], help=help)
        source = parts.get("source")
        again = source.get("reconcile") if isinstance(source, Map) else None
        full = again.get("full") if isinstance(again, Map) else None
        if full is not None:
            help = "reconcile: { every: …, look_back: … } finds what no webhook brought"
            r.say("FR207", "'full' compares what one map builds, and a workflow has steps", full, help=help)
        steps = stepping.read(parts["steps"], scope)
        if not any(kind == "write" for kind in stepping.kinds.values()) and not r.full:
            help = "- { id: NAME, write: { connection: …, object: …, action: …, map: { … } } }"
            r.say("FR034", "no step writes anything", r.head(parts["steps"]), help=help)
        return steps

    def _errors(self) -> bool:
        return any(d.severity == "error" for d in unignored(self.document, self.reader.found))

    def _raised(self, parts: Mapping[str, Node], more: Iterable[str]) -> frozenset[str]:
        """The error classes that either end can raise, or the connections of steps."""
        found: frozenset[str] = frozenset()
        for connection in more:
            named = self.around.systems.connector(connection)
            found |= named.error_classes if named is not None else frozenset()
        for box in ("source", "target"):
            node = parts.get(box)
            name = node.get("connection") if isinstance(node, Map) else None
            cls = self.around.systems.connector(name.text) if isinstance(name, Scalar) else None
            found |= cls.error_classes if cls is not None else frozenset()
        return found

    # -- scope -----------------------------------------------------------------------------------------------------

    def _names(self, parts: Mapping[str, Node], base: Scope) -> dict[str, Field]:
        """All names of the flow, before any is checked: rules and vars may look at each other."""
        r = self.reader
        scope = {name: field for name, field in base.items() if name != "env"}
        variables = [e.key.text for e in _entries(parts.get("vars"))]
        if variables:
            shape = Shape("vars", {n: Field(n) for n in variables})
            scope["vars"] = r.analyses.field(Field("vars", "object", shape=shape))
        scope["env"] = base["env"]
        boxes = [parts[box] for box in ("rules", "vars", "source") if box in parts]
        r.unsure = not all(isinstance(box, Map) for box in boxes) or not (base.keys() - {"env"})
        for entry in _entries(parts.get("rules")):
            if entry.key.text in scope or entry.key.text in words.RESERVED_NAMES:
                r.say("FR048", f"'{entry.key.text}' has a meaning already", entry.key, help="choose another name")
            else:
                scope[entry.key.text] = r.analyses.field(Field(entry.key.text, "boolean"))
        return scope

    def _vars(self, node: Node | None, values: Values, scope: dict[str, Field]) -> tuple[Var, ...]:
        r = self.reader
        found = []
        known: dict[str, Field] = {}
        for entry in r.entries(node, "'vars'"):
            name = r.name(entry.key, "a variable")
            value = values.value(entry.value, scope, f"'{name}'")
            if value is not None and name:
                found.append(Var(name, value, entry.key.span))
                known[name] = replace(static(r, value, scope), name=name)
        if "vars" in scope:
            names = {e.key.text: known.get(e.key.text, Field(e.key.text)) for e in _entries(node)}
            scope["vars"] = r.analyses.field(Field("vars", "object", shape=Shape("vars", names)))
        return tuple(found)

    def _rules(self, node: Node | None, scope: Scope) -> tuple[Rule, ...]:
        r = self.reader
        found = []
        for entry in r.entries(node, "'rules'"):
            name = r.name(entry.key, "a rule")
            when = r.expression(entry.value, "calc", scope, f"rule '{name}'")
            if when is not None and name and scope.get(name, ANY).type == "boolean":  # else its name is taken: said
                found.append(Rule(name, when, entry.key.span))
        return tuple(found)

    def _require(self, node: Node | None, scope: Scope) -> tuple[Requirement, ...]:
        r = self.reader
        found = []
        for item in r.items(node, "'require'") if node is not None else ():
            parts = r.box(item, words.REQUIREMENT, "a requirement")
            rule = r.expression(parts.get("rule"), "calc", scope, "rule")
            message = r.expression(parts.get("message"), "template", scope, "message")
            level = r.word(parts.get("level"), "level", ("error", "warn")) or "error"
            if rule is not None and message is not None:
                found.append(Requirement(rule, message, "warn" if level == "warn" else "error", item.span))
        return tuple(found)

    # -- the whole of it -------------------------------------------------------------------------------------------

    def _match_is_mapped(self, match: tuple[str, ...], mapped: set[str], target: Node) -> None:
        node = target.get("match") if isinstance(target, Map) else None
        for name in match:
            if name not in mapped and node is not None:
                self.reader.say(
                    "FR184", f"'match: {name}' is not filled by the map", node, help=f"map: {{ {name}: … }}"
                )

    def _env_everywhere(self) -> None:
        """A value that some environment lacks would fail there, and only there."""
        said = set()
        for name, span in self.reader.env_reads:
            environments = self.around.project.environments
            have = [e for e in environments.values() if name in e.values]
            lack = [e.name for e in environments.values() if name not in e.values]
            if have and lack and name not in said:
                said.add(name)
                message = f"'env.{name}' has no value in environment {', '.join(lack)}"
                self.reader.say("FR140", message, span, help=f"values: {{ {name}: … }} in flowrun.yaml")

    def _unused(self, parts: Mapping[str, Node], values: Values) -> None:
        r = self.reader
        for entry in _entries(parts.get("lookups")):
            if entry.key.text not in values.used:
                message = f"lookup '{entry.key.text}' is never used"
                r.say("FR185", message, entry.key, severity="lint", help="take it away, or use it")
        for box, word, prefix in (("rules", "rule", ""), ("vars", "variable", "vars.")):
            for entry in _entries(parts.get(box)):
                if not r.is_name(entry.key.text):
                    continue  # said already
                if prefix + entry.key.text not in r.names and not (prefix and "vars" in r.names):
                    message = f"{word} '{entry.key.text}' is never used"
                    r.say("FR189", message, entry.key, severity="lint", help="take it away, or use it")

    def _graph(
        self, variables: Iterable[Var], rules: Iterable[Rule], lookups: Mapping[str, Lookup]
    ) -> dict[str, tuple[set[str], Span]]:
        """What each variable, rule and table needs, and where it stands."""
        graph = {f"vars.{v.name}": (needs_of_value(v.value), v.span) for v in variables}
        every = set(graph)
        graph |= {rule.name: (needs_of_expr(rule.when), rule.span) for rule in rules}
        for name, one in lookups.items():
            use = one.on_miss.use
            graph[f"lookups.{name}"] = (needs_of_lookup(one), use.span if use is not None else one.span)
        return {name: (needs | every if "vars" in needs else needs, span) for name, (needs, span) in graph.items()}

    def _cycles(self, spanned: Mapping[str, tuple[set[str], Span]]) -> bool:
        """A value that needs itself: whether there is one."""
        before = len(self.reader.found)
        graph = {name: needs for name, (needs, _) in spanned.items()}
        done: set[str] = set()
        for first in graph:
            trail: list[str] = []
            stack = [iter((first,))]
            while stack:
                name = next(stack[-1], None)
                if name is None:
                    stack.pop()
                    if trail:
                        done.add(trail.pop())
                elif name in trail:
                    loop = " → ".join([*trail[trail.index(name) :], name])
                    self.reader.say("FR186", f"'{name}' needs itself: {loop}", spanned[name][1])
                elif name in graph and name not in done:
                    trail.append(name)
                    stack.append(iter(sorted(graph[name])))
        return len(self.reader.found) > before

    def _hash(self, values: Values, lookups: Mapping[str, Any], *shapes: Shape | None) -> str:
        """Of everything that decides what a record becomes."""
        digest = hashlib.sha256()
        digest.update(LANGUAGE_VERSION.encode())
        digest.update(self.document.text.encode())
        for name in sorted(values.fragments_here):
            digest.update(self.around.fragments[name].document.text.encode())
        for lookup in lookups.values():
            if lookup.kind == "file":
                digest.update(self.around.tables.digest(lookup.file or ""))
        for own in self.around.converters.values():
            digest.update(Path(own.source).read_bytes())
        for shape in shapes:
            digest.update(self.around.systems.digest(shape))
        return digest.hexdigest()[:16]


def _values(
    source: Source | None, target: Target | None, fields: FieldMap | None, variables: Iterable[Var]
) -> Iterator[Value]:
    """Every value of a flow that stands by itself."""
    yield from (variable.value for variable in variables)
    yield from values_of(fields) if fields is not None else ()
    named = [source.key, source.version, source.keep_order_by] if source is not None else []
    named += [target.idempotency_key] if target is not None else []
    reconcile = (source.reconcile if source is not None else None) or {}
    named += [*reconcile.get("totals", {}).values(), *reconcile.get("per", {}).values()]
    yield from (value for value in named if value is not None)
    for save in target.save if target is not None else ():
        yield from (save.source_id, save.target_id)


def _entries(node: Node | None) -> Sequence[Any]:
    return node.entries if isinstance(node, Map) else ()
