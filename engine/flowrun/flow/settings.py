"""flowrun.yaml against what its connectors take: settings, credentials by reference, limits, channels, policies."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flowrun.credentials.schemes import SCHEMES, choices
from flowrun.diagnostics import Diagnostic, near
from flowrun.document import Entry, Map, Node, Scalar
from flowrun.errors import ProjectError
from flowrun.flow import words
from flowrun.flow.policies import PolicyReader
from flowrun.flow.privacy import read_project_mask
from flowrun.flow.reading import Reader, percentage
from flowrun.flow.systems import Systems
from flowrun.pacing.rates import read_rates
from flowrun.project import Project

if TYPE_CHECKING:
    from flowrun.flow.flow_checker import Surroundings

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://\S+")
_ADDRESS = re.compile(r"[^\s@<>,;:\"()\[\]\\]+@[^\s@<>,;:\"()\[\]\\]+")
_REFERENCES = (["env"], ["secret"])
_KEY_REFERENCES = (*_REFERENCES, ["file"])
_LOOPBACK = re.compile(r"http://(127\.\d+\.\d+\.\d+|localhost|\[::1\])[:/]")
_PUBLIC_KEY = re.compile("[A-Za-z0-9+/]{43}=")  # 32 bytes in base64
_CREDENTIAL = re.compile("passw|secret|token|api_?key", re.IGNORECASE)


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
    _store(r, top.get("store"))
    _drift(r, top.get("drift"), project)
    read_project_mask(r, top.get("privacy"))
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
        elif word == "client_key_password" or (word == "client_key" and _is_pem(entry.value)):
            _secret(r, entry.value, entry.key, word)
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


def _is_pem(node: Node) -> bool:
    return isinstance(node, Scalar) and "-----BEGIN" in node.text


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
    fields = _fields(SCHEMES[scheme.key.text])
    parts = r.box(scheme.value, words.AUTH[scheme.key.text], f"auth: {scheme.key.text}")
    for name, inner in parts.items():
        if str(fields[name].type).startswith("Secret"):
            _secret(r, inner, scheme.value.index[name].key if isinstance(scheme.value, Map) else inner, name)
        elif str(fields[name].type).startswith("Mapping"):
            _block(r, inner, name)
        elif isinstance(inner, Scalar):
            _auth_setting(r, inner, fields[name])
        elif not (isinstance(inner, Map) and inner.keys() in _REFERENCES):
            r.say("FR031", f"'{name}' is one value", inner, help=str(fields[name].metadata["doc"]))


def _auth_setting(r: Reader, node: Scalar, declared: dataclasses.Field[Any]) -> None:
    if declared.name.endswith("_url"):
        _url(r, node)
        if node.text.startswith("http://") and not _LOOPBACK.match(node.text):
            r.say("FR210", "credentials would be sent in plain sight", node, help="https://…")
    elif declared.name == "idle":
        r.duration(node, "idle")
    elif choices(declared):
        r.word(node, declared.name, choices(declared))


def _block(r: Reader, node: Node, name: str) -> None:
    """Names and values. What looks like a credential among them is one."""
    for entry in _entries(node):
        if isinstance(entry.value, Scalar) and _CREDENTIAL.search(entry.key.text):
            _secret(r, entry.value, entry.key, entry.key.text)
    if not isinstance(node, Map) or node.keys() in _REFERENCES:
        r.say("FR031", f"'{name}' is a block of 'name: …' lines", node)


def _limits(r: Reader, node: Node) -> None:
    parts = r.box(node, words.LIMITS, "limits")
    for name in ("rate", "webhooks"):
        rate = parts.get(name)
        if not isinstance(rate, Scalar):
            continue
        try:
            read_rates(rate.text)
        except ValueError:
            help = "20/s, 600/m, 5000/h, 90000/d; several that all hold: 5/s 60/m 5000/d"
            r.say("FR210", f"a rate is calls in a time, such as 20/s, not '{rate.text}'", rate, help=help)
    r.count(parts.get("concurrent"), "concurrent")
    r.duration(parts.get("timeout"), "timeout")


def _store(r: Reader, node: Node | None) -> None:
    parts = r.box(node, words.STORE, "store")
    r.duration(parts.get("keep"), "keep")
    key = parts.get("key")
    if r.boolean(parts.get("encrypt"), "encrypt") and key is None:
        help = "key: { env: FLOWRUN_KEY }; make one with: openssl rand -base64 32"
        r.say("FR034", "'encrypt' needs a 'key' beside it", parts["encrypt"], help=help)
    if key is not None and not (isinstance(key, Map) and key.keys() in _KEY_REFERENCES):
        at = node.index["key"].key if isinstance(node, Map) else key
        r.say("FR197", "'key' is a secret written out", at, help="key: { env: FLOWRUN_KEY }; see: flowrun why FR197")


def _drift(r: Reader, node: Node | None, project: Project) -> None:
    if node is None:
        return
    parts = r.box(node, words.DRIFT, "drift")
    _channels(r, parts.get("alert"), "alert", project)
    share = r.text(parts["share"], "share") if "share" in parts else "5%"
    if percentage(share) is None:
        r.say("FR038", f"share is a percentage such as 5%, not '{share}'", parts["share"])
    every = r.duration(parts.get("every"), "every")
    if every is not None and every <= 0:
        r.say("FR039", "every is a time span above zero", parts["every"])
    r.boolean(parts.get("pause"), "pause")


def _environment(r: Reader, systems: Systems, project: Project, node: Map) -> None:
    _no_references(r, node.get("values"))
    for entry in _entries(node.get("values")):
        r.name(entry.key, "a value")
    for entry in _entries(node.get("connections")):
        if isinstance(entry.value, Map) and entry.key.text in project.connections:
            _settings(r, systems, entry.key.text, entry.value, whole=False)
    wanted = r.count(node.get("approvals"), "approvals")
    approvers = node.get("approvers")
    keys = [entry.value.text for entry in _entries(approvers) if isinstance(entry.value, Scalar)]
    for entry in _entries(approvers):
        if not isinstance(entry.value, Scalar) or not _PUBLIC_KEY.fullmatch(entry.value.text):
            r.say("FR210", f"'{entry.key.text}' has no public key", entry.value, help="flowrun promote key prints one")
    if wanted is not None and wanted > len(set(keys)):
        said = f"{wanted} approval{'s' * (wanted != 1)} can never be had from {len(set(keys))} approvers"
        r.say("FR034", said, node.index["approvals"].key, help="approvers: { NAME: its public key }")


def _alert(r: Reader, entry: Entry, project: Project) -> None:
    what = f"alert channel '{entry.key.text}'"
    parts = r.box(entry.value, words.ALERT, what)
    ways = [name for name in words.ALERT_WAYS if name in parts]
    if len(ways) > 1:
        help = "make a channel of each, and name the others under also:"
        r.say(
            "FR210", f"{what} is told by one of {', '.join(words.ALERT_WAYS)}, not by {len(ways)}", entry.key, help=help
        )
    elif not ways and "also" not in parts and isinstance(entry.value, Map):
        r.say("FR034", f"{what} tells nobody", entry.key, help="url: { secret: NAME }, or mail: { … }, or also: [ … ]")
    _channels(r, parts.get("also"), "also", project)
    r.duration(parts.get("every"), "every")
    r.boolean(parts.get("allow_private"), "allow_private")
    if "url" in parts:
        _url(r, parts["url"])
    if "apprise" in parts:
        _secret(r, parts["apprise"], _key(entry.value, "apprise"), "apprise")
    if "escalate" in parts:
        inner = r.box(parts["escalate"], words.ESCALATE, "escalate")
        r.duration(inner.get("after"), "after")
        _channels(r, inner.get("to"), "to", project)
    if "mail" in parts:
        _mail(r, parts["mail"])


def _channels(r: Reader, node: Node | None, what: str, project: Project) -> None:
    for item in r.items(node, what):
        name = r.text(item, what)
        if name and name not in project.alerts:
            guess = near(name, project.alerts)
            label = f"did you mean '{guess}'?" if guess else ""
            help = "" if guess else f"channels: {', '.join(project.alerts)}"
            r.say(
                "FR179", f"there is no alert channel '{name}'", item, label=label, help=help, fix=r.rename(item, guess)
            )


def _mail(r: Reader, node: Node) -> None:
    parts = r.box(node, words.MAIL, "mail")
    r.word(parts.get("tls"), "tls", words.MAIL_TLS)
    port = r.count(parts.get("port"), "port")
    if port is not None and not 0 < port < 65536:
        r.say("FR038", f"a port is a number from 1 to 65535, not {port}", parts["port"])
    addresses = [*r.items(parts.get("to"), "to"), *([parts["sender"]] if "sender" in parts else [])]
    for item in addresses:
        if isinstance(item, Scalar) and not _ADDRESS.fullmatch(item.text):
            r.say("FR210", f"'{item.text}' is no mail address", item, help="name@example.com")
    if "password" in parts:
        _secret(r, parts["password"], _key(node, "password"), "password")
    for name, other in (("user", "password"), ("password", "user")):
        if name in parts and other not in parts:
            r.say("FR034", f"mail has '{name}' without '{other}'", parts[name], help=words.MAIL[other].doc)


def _key(node: Node, name: str) -> Node:
    return node.index[name].key if isinstance(node, Map) and name in node.index else node


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
