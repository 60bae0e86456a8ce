"""flowrun.yaml against what its connectors take: settings, credentials by reference, limits, channels, policies."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flowrun.diagnostics import Diagnostic, near
from flowrun.document import Entry, Map, Node, Scalar
from flowrun.errors import ProjectError
from flowrun.flow import words
from flowrun.flow.policies import PolicyReader
from flowrun.flow.reading import Reader
from flowrun.flow.systems import Systems
from flowrun.project import Project

if TYPE_CHECKING:
    from flowrun.flow.flow_checker import Surroundings

_RATE = re.compile(r"\d{1,6}(\.\d{1,3})?\s*/\s*(s|m|h)")
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://\S+")
_REFERENCES = (["env"], ["secret"])


def check_settings(project: Project, systems: Systems, around: Surroundings) -> list[Diagnostic]:
    """Every mistake in flowrun.yaml that its own reader does not see. Leaves its policies in ``around``."""
    document = project.document
    top = document.root if document is not None else None
    if document is None or not isinstance(top, Map):
        return []
    r = Reader(document)
    for entry in _entries(top.get("connections")):
        if isinstance(entry.value, Map):
            _connection(r, systems, entry.key.text, entry.value)
    for entry in _entries(top.get("environments")):
        if isinstance(entry.value, Map):
            _environment(r, systems, project, entry.value)
    for entry in _entries(top.get("alerts")):
        _alert(r, entry, project)
    for box in ("owners", "on_error", "project"):
        _no_references(r, top.get(box))
    _converters(r, top.get("converters"), around)
    around.policies = PolicyReader(r, project.alerts).classes(top.get("on_error"))
    return r.found


def _converters(r: Reader, node: Node | None, around: Surroundings) -> None:
    if node is None:
        return
    from flowrun.converters import own_converters

    for item in r.items(node, "converters"):
        name = item.text if isinstance(item, Scalar) else ""
        try:
            around.converters.update(own_converters([name]) if name else {})
        except ProjectError as error:
            around.broken.add(name)
            r.say("FR122", error.message, item, help=error.help)


def _entries(node: Node | None) -> Iterable[Entry]:
    return node.entries if isinstance(node, Map) else ()


def _connection(r: Reader, systems: Systems, name: str, node: Map) -> None:
    connector = node.get("connector")
    if not isinstance(connector, Scalar) or not connector.text:
        return  # said by the project's reader
    if connector.text not in systems.registry:
        help = f"installed: {', '.join(systems.registry) or 'none'}"
        r.say_unknown(
            "FR158",
            f"no connector '{connector.text}' is installed",
            connector,
            connector.text,
            systems.registry,
            help=help,
        )
        return
    _settings(r, systems, name, node, whole=True)


def _settings(r: Reader, systems: Systems, name: str, node: Map, *, whole: bool) -> None:
    """whole: every required setting must be there; otherwise the map changes some of them."""
    cls = systems.connector(name)
    own = _fields(cls.Settings) if cls is not None else {}
    for entry in node.entries:
        word = entry.key.text
        if word in own:
            _setting(r, entry, own[word])
        elif word == "auth":
            _auth(r, entry.value)
        elif word == "limits":
            _limits(r, entry.value)
        elif word == "allow_private":
            r.boolean(entry.value, word)
        elif word == "base_url":
            _url(r, entry.value)
        elif word not in words.CONNECTION:
            r.unknown_key(entry, (*words.CONNECTION, *own), f"connection '{name}'")
    for word, one in own.items():
        required = one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
        if whole and required and node.get(word) is None:
            example = one.metadata.get("example") or "…"
            help = f"{word}: {example}   ({one.metadata.get('doc', '')})"
            r.say("FR034", f"connection '{name}' lacks '{word}'", r.head(node), help=help)


def _fields(settings: Any) -> dict[str, dataclasses.Field[Any]]:
    """The settings a connector declares, by the name they have in YAML."""
    return {one.name: one for one in dataclasses.fields(settings)} if dataclasses.is_dataclass(settings) else {}


def _setting(r: Reader, entry: Entry, declared: dataclasses.Field[Any]) -> None:
    node, name = entry.value, entry.key.text
    if isinstance(node, Map) and node.keys() in _REFERENCES:
        return
    kind = str(declared.type)
    if "Secret" in kind:
        _secret(r, node, entry.key, name)
    elif isinstance(node, Scalar):
        if kind.startswith("bool"):
            r.boolean(node, name)
        elif kind.startswith("int"):
            r.count(node, name)
        elif name == "base_url":
            _url(r, node)
        allowed = re.fullmatch(r"(?:typing\.)?Literal\[(.*)\](?: \| None)?", kind)
        if allowed:
            r.word(node, name, re.findall(r"['\"]([^'\"]+)['\"]", allowed.group(1)))
    elif kind.startswith(("bool", "int", "str", "Literal")):
        r.say("FR031", f"'{name}' is one value", node, help=str(declared.metadata.get("doc", "")))


def _secret(r: Reader, node: Node, key: Node, name: str) -> None:
    """A credential in plain words would be in git, in editors, and on screens; so the message points at its key."""
    if isinstance(node, Map) and node.keys() in _REFERENCES:
        return
    r.say("FR197", f"'{name}' is a secret written out", key, help=f"{name}: {{ secret: NAME }}; see: flowrun why FR197")


def _url(r: Reader, node: Node) -> None:
    if isinstance(node, Scalar) and not _URL.fullmatch(node.text):
        r.say("FR210", f"'{node.text}' is no address", node, help="https://…, or { env: NAME }")
    if isinstance(node, Scalar) and re.search(r"://[^/]*:[^/]*@", node.text):
        at = node.document.span(node.start, node.start + 1)
        r.say("FR197", "a password stands in the address", at, help="put it under auth: as { secret: NAME }")


def _auth(r: Reader, node: Node) -> None:
    if not isinstance(node, Map) or len(node.entries) != 1:
        r.say("FR210", f"'auth' is exactly one of {', '.join(words.AUTH)}", r.head(node))
        return
    scheme = node.entries[0]
    if scheme.key.text not in words.AUTH:
        r.unknown_key(scheme, words.AUTH, "auth")
        return
    box = words.AUTH[scheme.key.text]
    for name, inner in r.box(scheme.value, box, f"auth: {scheme.key.text}").items():
        if box[name].kind == "secret":
            _secret(r, inner, scheme.value.index[name].key if isinstance(scheme.value, Map) else inner, name)
        elif name == "token_url":
            _url(r, inner)


def _limits(r: Reader, node: Node) -> None:
    parts = r.box(node, words.LIMITS, "limits")
    rate = parts.get("rate")
    if isinstance(rate, Scalar) and not _RATE.fullmatch(rate.text):
        r.say("FR210", f"a rate is calls in a time, such as 20/s, not '{rate.text}'", rate, help="20/s, 600/m, 5000/h")
    r.count(parts.get("concurrent"), "concurrent")
    r.duration(parts.get("timeout"), "timeout")


def _environment(r: Reader, systems: Systems, project: Project, node: Map) -> None:
    _no_references(r, node.get("values"))
    for entry in _entries(node.get("values")):
        r.name(entry.key, "a value")
    for entry in _entries(node.get("connections")):
        if isinstance(entry.value, Map) and entry.key.text in project.connections:
            _settings(r, systems, entry.key.text, entry.value, whole=False)


def _alert(r: Reader, entry: Entry, project: Project) -> None:
    parts = r.box(entry.value, words.ALERT, f"alert channel '{entry.key.text}'")
    for item in r.items(parts.get("also"), "also"):
        name = r.text(item, "also")
        if name and name not in project.alerts:
            guess = near(name, project.alerts)
            label = f"did you mean '{guess}'?" if guess else ""
            r.say("FR179", f"there is no alert channel '{name}'", item, label=label, fix=r.rename(item, guess))
    if "url" in parts:
        _url(r, parts["url"])


def _no_references(r: Reader, node: Node | None) -> None:
    """References anywhere but in connections, alerts and store would be read as plain data."""
    stack = [node] if node is not None else []
    while stack:
        at = stack.pop()
        if isinstance(at, Map):
            if at.keys() == ["secret"] or at.keys() == ["env"]:
                r.say(
                    "FR196",
                    f"{{ {at.keys()[0]}: … }} stands in connections and alerts only",
                    at,
                    help="values are plain and public: expressions and traces show them",
                )
            else:
                stack.extend(entry.value for entry in at.entries)


def documented(settings: Any) -> Mapping[str, tuple[str, str]]:
    """Setting → (words, example), for the reference and the editor."""
    found = {}
    for name, one in _fields(settings).items():
        found[name] = (str(one.metadata.get("doc", "")), str(one.metadata.get("example", "")))
    return found
