"""An environment as it takes effect: values and who reads them, systems that are simulated, settings, secrets by name,
tables, contracts. Two of them compared."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from flowrun.connector import Registry
from flowrun.diagnostics import Span
from flowrun.document import Map
from flowrun.errors import InvalidFlow, ProjectError
from flowrun.flow import check_project
from flowrun.flow.model import Flow
from flowrun.flow.uses import env_uses
from flowrun.project import FILE, ConnectionSpec, Environment, EnvRef, Project, SecretRef
from flowrun.promotion.bundle import sha256

MOST_ROWS = 20  # of one table, told one by one
ABSENT = "absent"
_USERINFO = re.compile(r"(?<=://)[^/@\s]*@")
_FOLDED = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Fact:
    """text: the value in words, no secret in it. flows: whom it concerns. place: ``file:line``, or ""."""

    text: str
    flows: tuple[str, ...] = ()
    place: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """facts: (kind, name) → Fact; kinds: value, connection, store, approvals, setting, secret, variable, flow,
    contract. tables: file and column → its rows. missing: secrets and variables that are needed and not set here."""

    project: Project
    environment: Environment
    flows: Mapping[str, Flow]
    facts: Mapping[tuple[str, str], Fact]
    tables: Mapping[str, Mapping[tuple[str, ...], str | None]] = field(default_factory=dict)

    @property
    def missing(self) -> list[str]:
        return [f"{kind} {name}" for (kind, name), fact in self.facts.items() if fact.text == "missing"]


@dataclass(frozen=True, slots=True)
class Change:
    """a, b: the value in words in both; ``absent`` where there is none."""

    kind: str
    name: str
    a: str
    b: str
    flows: tuple[str, ...] = ()
    a_place: str = ""
    b_place: str = ""


def view_of(
    project: Project, environment: Environment, registry: Registry, environ: Mapping[str, str] | None = None
) -> View:
    """Touches no network; asks for secrets only whether they are there. Raises InvalidFlow."""
    checked = check_project(project, registry)
    wrong = [one for one in checked.diagnostics if one.severity == "error"]
    if wrong:
        raise InvalidFlow(wrong)
    flows = {flow.name: flow for flow in sorted(checked.flows, key=lambda flow: flow.name)}
    facts = dict(_facts(project, environment, flows, os.environ if environ is None else environ))
    tables: dict[str, Mapping[tuple[str, ...], str | None]] = {}
    for flow in flows.values():
        for lookup in flow.lookups.values():
            if lookup.kind == "file":
                tables[f"{lookup.file} {', '.join(lookup.key_columns)} → {lookup.returns}"] = lookup.rows
    return View(project, environment, flows, facts, tables)


def changes(a: View, b: View) -> list[Change]:
    """What differs in effect, in the order of ``View``'s kinds."""
    found = []
    for key in dict.fromkeys((*a.facts, *b.facts)):
        one, other = a.facts.get(key, Fact(ABSENT)), b.facts.get(key, Fact(ABSENT))
        if one.text != other.text:
            flows = tuple(dict.fromkeys((*one.flows, *other.flows)))
            found.append(Change(*key, one.text, other.text, flows, one.place, other.place))
    found.sort(key=lambda change: _ORDER.index(change.kind))
    for table in dict.fromkeys((*a.tables, *b.tables)):
        found += _rows(table, a.tables.get(table, {}), b.tables.get(table, {}))
    return found


_ORDER = ("value", "connection", "setting", "store", "approvals", "secret", "variable", "flow", "contract")


def _rows(
    table: str, a: Mapping[tuple[str, ...], str | None], b: Mapping[tuple[str, ...], str | None]
) -> Iterator[Change]:
    if a is b:
        return
    unlike = [key for key in dict.fromkeys((*a, *b)) if key not in a or key not in b or a[key] != b[key]]
    for key in unlike[:MOST_ROWS]:
        sides = [ABSENT if key not in rows else _shown(rows[key]) for rows in (a, b)]
        yield Change("row", f"{table}: {', '.join(key)}", sides[0], sides[1])
    if len(unlike) > MOST_ROWS:
        yield Change("row", f"{table}: {len(unlike) - MOST_ROWS} rows more", "", "")


def _facts(
    project: Project, environment: Environment, flows: Mapping[str, Flow], environ: Mapping[str, str]
) -> Iterator[tuple[tuple[str, str], Fact]]:
    uses = {name: env_uses(flow) for name, flow in flows.items()}
    for name, value in environment.values.items():
        yield (
            ("value", name),
            Fact(_shown(value), tuple(flow for flow, used in uses.items() if name in used), _place(environment, name)),
        )
    for name in project.connections:
        spec = project.connection(name, environment)
        users = tuple(flow.name for flow in flows.values() if name in _connections(flow))
        simulated = name in environment.sandbox
        yield ("connection", name), Fact(f"{spec.connector}, {'simulated' if simulated else 'the real one'}", users)
        for setting, value in _flat(spec):
            yield ("setting", f"{name}.{setting}"), Fact(_shown(value), users)
    yield ("store", "state"), Fact(_shown(environment.store) if environment.store else "SQLite, in the project")
    yield ("approvals", "needed"), Fact(str(environment.approvals))
    yield from _secrets(project, environment, flows, environ)
    for name, flow in flows.items():
        yield ("flow", name), Fact(flow.hash[:12], (name,), flow.file)
    base = project.root / "contracts"
    for path in sorted(base.rglob("*.json")) if base.is_dir() else ():
        name = path.relative_to(base).with_suffix("").as_posix()
        users = tuple(flow.name for flow in flows.values() if name.split("/")[0] in _connections(flow))
        yield ("contract", name), Fact(f"pinned {sha256(path.read_bytes())[:12]}", users, f"contracts/{name}.json")


def _secrets(
    project: Project, environment: Environment, flows: Mapping[str, Flow], environ: Mapping[str, str]
) -> Iterator[tuple[tuple[str, str], Fact]]:
    """What this environment needs, and whether it is set on this machine. Simulated systems need nothing."""
    needed: dict[tuple[str, str], dict[str, None]] = {}
    for name in project.connections:
        if name not in environment.sandbox:
            users = [flow.name for flow in flows.values() if name in _connections(flow)]
            for ref in _references(project.connection(name, environment).settings):
                needed.setdefault(_named(ref), {}).update(dict.fromkeys(users))
    alerts = {} if environment.sandbox else project.alerts  # with simulated systems nobody is told
    for ref in _references([project.store_key, environment.store, dict(alerts)]):
        needed.setdefault(_named(ref), {})
    for (kind, name), users_ in needed.items():
        ref = (SecretRef if kind == "secret" else EnvRef)(name, Span(FILE, 1, 1, 1, 1))
        try:
            project.resolve(ref, environ)
        except ProjectError:
            yield (kind, name), Fact("missing", tuple(users_))
        else:
            yield (kind, name), Fact("set", tuple(users_))


def _named(ref: EnvRef | SecretRef) -> tuple[str, str]:
    return "secret" if isinstance(ref, SecretRef) else "variable", ref.name


def _references(value: Any) -> Iterator[EnvRef | SecretRef]:
    if isinstance(value, EnvRef | SecretRef):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _references(inner)


def _flat(spec: ConnectionSpec) -> Iterator[tuple[str, Any]]:
    stack: list[tuple[str, Any]] = list(reversed(list(spec.settings.items())))
    while stack:
        name, value = stack.pop()
        if isinstance(value, Mapping):
            stack.extend((f"{name}.{inner}", one) for inner, one in reversed(list(value.items())))
        else:
            yield name, value


def _connections(flow: Flow) -> tuple[str, ...]:
    return (flow.source.connection, flow.target.connection, *flow.asked)


def _place(environment: Environment, name: str) -> str:
    values = environment.node.get("values") if isinstance(environment.node, Map) else None
    entry = values.entry(name) if isinstance(values, Map) else None
    return f"{FILE}:{entry.key.line}" if entry is not None else ""


def _shown(value: Any) -> str:
    if isinstance(value, SecretRef):
        return f"{{ secret: {value.name} }}"
    if isinstance(value, EnvRef):
        return f"{{ env: {value.name} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_shown(one) for one in value)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = "null" if value is None else str(value)
    return _USERINFO.sub("***@", _FOLDED.sub(" ", text))
