"""check: the files of a project → Flows and every mistake in them, in one pass, in file order."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flowrun.connector import Registry
from flowrun.contract import Field, Shape
from flowrun.diagnostics import Diagnostic, Span, near
from flowrun.document import Document, Map, Node, Scalar, parse
from flowrun.errors import InvalidFlow, ProjectError
from flowrun.flow import words
from flowrun.flow.boxes import BoxReader, Systems
from flowrun.flow.examples import read_tests
from flowrun.flow.fitting import Fitter
from flowrun.flow.model import Flow, FlowTest, Requirement, Rule, Var
from flowrun.flow.reading import Reader, Scope
from flowrun.flow.rhs import ANY, Fragment, Values
from flowrun.flow.tables import LookupReader, Tables
from flowrun.project import FILE, LANGUAGE_VERSION, Project

_IGNORE = re.compile(r"#\s*flowrun:\s*ignore\[([^\]]*)\]")


@dataclass(frozen=True, slots=True)
class Checked:
    """flows: those without an error. diagnostics: of every file, in file order. files: what was looked at."""

    flows: tuple[Flow, ...]
    diagnostics: tuple[Diagnostic, ...]
    files: tuple[str, ...]
    documents: Mapping[str, Document]

    @property
    def errors(self) -> int:
        return sum(d.severity == "error" for d in self.diagnostics)


def flow_files(root: Path, paths: Sequence[Path] = ()) -> list[Path]:
    """The flow files that ``paths`` mean (all of flows/ when empty), sorted, each once."""
    found: dict[Path, None] = {}
    for path in paths or (root / "flows",):
        if path.is_dir():
            for file in sorted((*path.rglob("*.yaml"), *path.rglob("*.yml"))):
                if file.name != FILE and not any(part.startswith(".") for part in file.relative_to(path).parts):
                    found[file.resolve()] = None
        elif path.is_file():
            if path.name != FILE:
                found[path.resolve()] = None
        else:
            raise ProjectError(f"there is no file or folder '{path}'")
    return list(found)


def check_project(project: Project, registry: Registry, paths: Sequence[Path] = ()) -> Checked:
    """Check the files that ``paths`` name (all flows when empty), flowrun.yaml, and the fragments they use."""
    wanted = flow_files(project.root, paths)
    everything = set(wanted)
    if (project.root / "flows").is_dir():
        everything |= set(flow_files(project.root))
    documents: dict[str, Document] = {}
    broken: dict[str, list[Diagnostic]] = {}
    for path in sorted(everything):
        name = _shown(project.root, path)
        text, problem = _read(path, name)
        documents[name] = parse(text, name)
        broken[name] = [problem] if problem else documents[name].problems
    fragments = _fragments(documents, broken)
    systems, tables = Systems(project, registry), Tables(project.root)
    flows: list[Flow] = []
    found: list[Diagnostic] = list(project.diagnostics)
    names: dict[str, Span] = {}
    for path in wanted:
        name = _shown(project.root, path)
        document = documents[name]
        if broken[name]:
            found += _unignored(document, broken[name])
            continue
        checker = FlowChecker(document, project, systems, tables, fragments)
        flow = checker.check()
        mine = [d for d in checker.reader.found if d.span.file == name]
        other = [d for d in checker.reader.found if d.span.file != name and d not in found]
        if flow is not None and flow.name in names:
            mine.append(
                Diagnostic(
                    "FR022",
                    f"another flow is named '{flow.name}'",
                    checker.name_span,
                    help="choose another name",
                    related=(("there", names[flow.name]),),
                )
            )
        elif flow is not None:
            names[flow.name] = checker.name_span
        kept = _unignored(document, sorted(mine, key=lambda d: (d.span.start, d.code)))
        found += kept + other
        if flow is not None and not any(d.severity == "error" for d in (*kept, *other)):
            flows.append(flow)
    files = tuple(_shown(project.root, path) for path in wanted)
    if project.document is not None:
        documents[FILE] = project.document
    return Checked(tuple(flows), tuple(found), files, documents)


def load_flow(name_or_path: str, project: Project, registry: Registry) -> Flow:
    """One flow by its name or its file, ready to compile. Raises InvalidFlow, or ProjectError when there is none."""
    path = Path(name_or_path)
    candidates = [path] if path.is_file() else _named(project.root, name_or_path)
    checked = check_project(project, registry, candidates)
    if checked.errors:
        raise InvalidFlow([d for d in checked.diagnostics if d.severity == "error"])
    if not checked.flows:
        raise ProjectError(f"'{name_or_path}' holds no flow")
    return checked.flows[0]


def _named(root: Path, name: str) -> list[Path]:
    names: list[str] = []
    for path in flow_files(root) if (root / "flows").is_dir() else []:
        text, problem = _read(path, path.name)
        found = None if problem else re.search(r"^flow:\s*['\"]?([^\s'\"#]+)", text, re.MULTILINE)
        if found and found.group(1) == name:
            return [path]
        if found:
            names.append(found.group(1))
    guess = near(name, names)
    raise ProjectError(
        f"no flow is named '{name}'",
        help=f"did you mean '{guess}'?" if guess else f"flows of this project: {', '.join(names) or 'none'}",
    )


def _shown(root: Path, path: Path) -> str:
    resolved = path.resolve()
    return str(resolved.relative_to(root.resolve())) if resolved.is_relative_to(root.resolve()) else str(path)


def _read(path: Path, name: str) -> tuple[str, Diagnostic | None]:
    nowhere = Span(name, 1, 1, 1, 1)
    if path.stat().st_size > 4_000_000:
        return "", Diagnostic(
            "FR001", "the file is larger than 4 MB", nowhere, help="one flow a file, tables in lookups/"
        )
    try:
        return path.read_text(encoding="utf-8-sig"), None
    except UnicodeDecodeError as error:
        return "", Diagnostic("FR002", f"not UTF-8 text (byte {error.start})", nowhere, help="save the file as UTF-8")


def _fragments(documents: Mapping[str, Document], broken: Mapping[str, Sequence[Diagnostic]]) -> dict[str, Fragment]:
    found = {}
    for name, document in documents.items():
        root = document.root
        if broken[name] or not isinstance(root, Map) or root.get("fragment") is None:
            continue
        title, needs, fields = root.get("fragment"), root.get("needs"), root.get("map")
        reader = Reader(document)
        if isinstance(title, Scalar):
            found[title.text] = Fragment(
                title.text, document, reader.texts(needs, "needs"), fields if isinstance(fields, Map) else None
            )
    return found


def _unignored(document: Document, diagnostics: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Without those that ``# flowrun: ignore[FR…]`` names, on its own line or the line above; an ignore that
    ignores nothing is a lint."""
    marks: dict[int, tuple[set[str], int]] = {}
    for match in _IGNORE.finditer(document.text):
        line, _ = document.place(match.start())
        marks[line] = ({code.strip() for code in match.group(1).split(",")}, match.start())
    if not marks:
        return list(diagnostics)
    used: set[tuple[int, str]] = set()
    kept = []
    for d in diagnostics:
        place = next((n for n in (d.span.line, d.span.line - 1) if n in marks and d.code in marks[n][0]), None)
        if place is None:
            kept.append(d)
        else:
            used.add((place, d.code))
    for line, (codes, offset) in marks.items():
        for code in sorted(codes):
            if (line, code) not in used:
                kept.append(
                    Diagnostic(
                        "FR190",
                        f"nothing here to ignore for {code}",
                        document.span(offset, offset + 1),
                        "lint",
                        help="take the comment away",
                    )
                )
    return sorted(kept, key=lambda d: d.span.start)


class FlowChecker:
    """One file → Flow, or None after saying what is wrong."""

    def __init__(
        self, document: Document, project: Project, systems: Systems, tables: Tables, fragments: Mapping[str, Fragment]
    ) -> None:
        self.document = document
        self.project = project
        self.systems = systems
        self.tables = tables
        self.fragments = fragments
        self.reader = Reader(document)
        self.name_span = Span(document.file, 1, 1, 1, 1)

    def check(self) -> Flow | None:
        r = self.reader
        root = self.document.root
        if root is None:
            r.say("FR020", "the file is empty", self.document.span(0, 0), help="flowrun: 1 …; see: flowrun init")
            return None
        if isinstance(root, Map) and root.get("fragment") is not None:
            r.box(root, words.FRAGMENT, "a fragment")
            return None  # its map is checked where it is used
        if isinstance(root, Map) and root.get("steps") is not None:
            entry = root.entry("steps")
            assert entry is not None
            r.say(
                "FR023",
                "'steps' (workflows) are reserved: this version runs one-record flows",
                entry.key,
                help="write map + target; workflows come in a later version",
            )
            return None
        parts = r.box(root, words.FLOW, "a flow")
        if not isinstance(root, Map) or not parts:
            return None
        version = parts.get("flowrun")
        if isinstance(version, Scalar) and version.text != LANGUAGE_VERSION:
            r.say(
                "FR021",
                f"this flowrun speaks version {LANGUAGE_VERSION} of the language, not '{version.text}'",
                version,
            )
        name = r.flow_name(parts.get("flow"))
        entry = root.entry("flow")
        if entry is not None:
            self.name_span = entry.value.span
        for word in ("map", "target"):
            if word not in parts:
                r.say("FR034", f"a flow lacks '{word}'", r.head(root), help=words.FLOW[word].doc)
        return self._flow(name, parts)

    def _flow(self, name: str, parts: Mapping[str, Node]) -> Flow | None:
        r = self.reader
        lookup_names = [e.key.text for e in r.entries(parts.get("lookups"), "'lookups'")]
        values = Values(r, lookup_names, self.fragments)
        boxes = BoxReader(r, values, self.systems)
        record, base, shape = boxes.source_scope(parts.get("source"))
        base["env"] = self._env()
        scope = self._names(parts, base)
        variables = self._vars(parts.get("vars"), values, scope)
        rules = self._rules(parts.get("rules"), scope)
        lookups = LookupReader(r, values, self.tables, list(self.project.connections)).lookups(
            parts.get("lookups"), scope
        )
        identity = {**base, "vars": scope["vars"]} if "vars" in scope else base
        source = boxes.source(parts.get("source"), identity, shape)
        require = self._require(parts.get("require"), scope)
        fields = values.map(parts.get("map"), scope) if "map" in parts else None
        target = boxes.target(parts.get("target"), scope)
        connector = self.systems.connector(target.connection) if target else None
        raised = connector.error_classes if connector else frozenset()
        on_error = boxes.policies(parts.get("on_error") or self.project.on_error, name, self.project.alerts, raised)
        tests = read_tests(r, parts.get("tests"), "group" if "group" in base else record)
        if fields is not None and target is not None and target.shape is not None:
            fields = Fitter(r, values, target.shape, target.action, target.match).fit(fields, target.shape)
        if target is not None and fields is not None:
            mapped = {one.path[0] for one in fields.fields}
            for match in target.match:
                if match not in mapped:
                    r.say(
                        "FR184",
                        f"'match: {match}' is not filled by the map",
                        r.head(parts["target"]),
                        help=f"{match}: …",
                    )
        for lookup in lookups.values():
            if lookup.name not in values.used:
                r.say(
                    "FR185",
                    f"lookup '{lookup.name}' is never used",
                    r.head(lookup_node(parts, lookup.name)),
                    severity="lint",
                )
        self._coverage(parts, tests, rules)
        self._cycles(variables, rules)
        if source is None or target is None or fields is None or any(d.severity == "error" for d in r.found):
            return None
        return Flow(
            name=name,
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
            hash=self._hash(lookups, source.shape, target.shape),
            env_names=tuple(self._values()),
        )

    # -- scope -----------------------------------------------------------------------------------------------------

    def _values(self) -> dict[str, Any]:
        """Every value any environment declares."""
        found: dict[str, Any] = {}
        for environment in self.project.environments.values():
            found.update(environment.values)
        return found

    def _env(self) -> Field:
        values = self._values()
        fields = {name: Field(name, "text" if isinstance(value, str) else "any") for name, value in values.items()}
        return Field("env", "object", shape=Shape("env", fields, closed=True))

    def _names(self, parts: Mapping[str, Node], base: Scope) -> dict[str, Field]:
        """All names of the flow, before any is checked: rules and vars may look at each other."""
        r = self.reader
        scope = dict(base)
        variables = {e.key.text: ANY for e in r.entries(parts.get("vars"), "'vars'")}
        if variables:
            scope["vars"] = Field("vars", "object", shape=Shape("vars", {n: Field(n) for n in variables}))
        for entry in r.entries(parts.get("rules"), "'rules'"):
            if entry.key.text in scope or entry.key.text in ("response", "steps"):
                r.say("FR048", f"'{entry.key.text}' is in scope already", entry.key, help="choose another name")
            else:
                scope[entry.key.text] = Field(entry.key.text, "boolean")
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
                known[name] = replace(values.static(value, scope), name=name)
        if "vars" in scope:
            names = {e.key.text: known.get(e.key.text, Field(e.key.text)) for e in r.entries(node, "'vars'")}
            scope["vars"] = Field("vars", "object", shape=Shape("vars", names))
        return tuple(found)

    def _rules(self, node: Node | None, scope: Scope) -> tuple[Rule, ...]:
        r = self.reader
        found = []
        for entry in r.entries(node, "'rules'"):
            name = r.name(entry.key, "a rule")
            when = r.expression(entry.value, "calc", scope, f"rule '{name}'")
            if when is not None and name:
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

    def _cycles(self, variables: Iterable[Var], rules: Iterable[Rule]) -> None:
        """A value that needs itself."""
        from flowrun.flow.needs import needs_of_expr, needs_of_value

        graph: dict[str, set[str]] = {f"vars.{v.name}": needs_of_value(v.value) for v in variables}
        graph |= {rule.name: needs_of_expr(rule.when) for rule in rules}
        spans = {f"vars.{v.name}": v.span for v in variables} | {rule.name: rule.span for rule in rules}
        state: dict[str, int] = {}

        def visit(name: str, trail: list[str]) -> None:
            if state.get(name) == 2 or name not in graph:
                return
            if state.get(name) == 1:
                loop = [*trail[trail.index(name) :], name]
                self.reader.say("FR186", f"'{name}' needs itself: {' → '.join(loop)}", spans[name])
                return
            state[name] = 1
            for need in sorted(graph[name]):
                visit(need, [*trail, name])
            state[name] = 2

        for name in graph:
            visit(name, [])

    def _coverage(self, parts: Mapping[str, Node], tests: Sequence[FlowTest], rules: Sequence[Rule]) -> None:
        r = self.reader
        if not tests:
            if "tests" not in parts:
                r.say(
                    "FR187",
                    "the flow has no tests",
                    self.name_span,
                    severity="lint",
                    help="add tests: with given and expect; flowrun test --record makes one from a run",
                )
            return
        if any(t.expect_exact is not None for t in tests):
            return
        seen = {str(f).split(".")[0].split("[")[0] for t in tests for f in (*(t.expect or {}), *t.expect_absent)}
        seen |= {t.expect_error.get("field", "").split(".")[0].split("[")[0] for t in tests if t.expect_error}
        for entry in r.entries(parts.get("map"), "'map'"):
            if entry.key.text.split(".")[0] not in seen and not _is_constant(entry.value):
                r.say(
                    "FR188",
                    f"no test looks at '{entry.key.text}'",
                    entry.key,
                    severity="lint",
                    help="name it under expect: of a test",
                )

    def _hash(self, lookups: Mapping[str, Any], *shapes: Shape | None) -> str:
        """Of everything that decides what a record becomes."""
        digest = hashlib.sha256()
        digest.update(LANGUAGE_VERSION.encode())
        digest.update(self.document.text.encode())
        for fragment in self.fragments.values():
            digest.update(fragment.document.text.encode())
        for lookup in lookups.values():
            digest.update(repr(sorted(lookup.rows.items())).encode())
        for shape in shapes:
            digest.update(repr(shape).encode())
        return digest.hexdigest()[:16]


def lookup_node(parts: Mapping[str, Node], name: str) -> Node:
    lookups = parts["lookups"]
    assert isinstance(lookups, Map)
    entry = lookups.entry(name)
    assert entry is not None
    return entry.key


def _is_constant(node: Node) -> bool:
    return isinstance(node, Map) and node.keys() == ["value"]
