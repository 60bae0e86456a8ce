"""flowrun.yaml: connections, environments, alert channels, default policies; secrets by reference only.

Reading it never needs a secret or a network; ``Project.resolve`` turns a reference into its value when a connection
is opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from msgspec import Struct

from flowrun.diagnostics import Diagnostic, Span, near
from flowrun.document import Document, Map, Node, Scalar, Seq, parse
from flowrun.errors import ProjectError
from flowrun.secret_places import find_secret
from flowrun.values import Secret

FILE = "flowrun.yaml"
LANGUAGE_VERSION = "1"


class EnvRef(Struct, frozen=True):
    """``{ env: NAME }``: a variable of the operating system, read when the connection is opened."""

    name: str
    span: Span


class SecretRef(Struct, frozen=True):
    """``{ secret: NAME }``: see ``Project.resolve`` for where it is looked for."""

    name: str
    span: Span


@dataclass(frozen=True, slots=True)
class ConnectionSpec:
    """settings: the plain mapping as written, references as EnvRef and SecretRef; spans: where each key stands."""

    name: str
    connector: str
    settings: Mapping[str, Any]
    span: Span
    spans: Mapping[str, Span] = field(default_factory=dict)

    def public(self) -> dict[str, Any]:
        """The settings that are no reference: what a connector class may see offline."""
        return {k: v for k, v in self.settings.items() if not isinstance(v, EnvRef | SecretRef)}


@dataclass(frozen=True, slots=True)
class Environment:
    """values: what expressions see as ``env``. sandbox: connections that run against their simulator."""

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    sandbox: tuple[str, ...] = ()
    store: str | EnvRef | None = None
    connections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    approvals: int = 0  # how many people must have approved a bundle for it
    approvers: Mapping[str, str] = field(default_factory=dict)  # name → public key, as `flowrun promote key` prints it
    span: Span | None = None
    node: Node | None = field(default=None, compare=False, repr=False)


def _word(doc: str, kind: str, *, required: bool = False, example: str = "", default: Any = None) -> Any:
    """A field whose declaration serves the checker, the editor's schema and the reference; kinds: ``flow.words``."""
    metadata = {"doc": doc, "kind": kind, "required": required, "example": example}
    return field(metadata=metadata) if required else field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Mail:
    """``mail:`` of an alert channel."""

    host: str = _word("The mail server.", "setting", required=True, example="{ env: SMTP_HOST }")
    sender: str = _word("The address that alerts come from.", "setting", required=True, example="flowrun@example.com")
    to: tuple[str, ...] = _word("The addresses that alerts go to.", "names", required=True, example="[it@example.com]")
    tls: str = _word(
        "starttls (port 587) or implicit (port 465); letters never go without.", "text", example="starttls",
        default="starttls",
    )  # fmt: skip
    port: int | None = _word("The server's port, when it is another.", "count", example="587")
    user: str | None = _word("The name to log in with.", "setting", example="{ secret: smtp_user }")
    password: Secret | None = _word("The password to log in with.", "secret", example="{ secret: smtp_password }")
    verify: str | None = _word("A file of trusted authorities beside the known ones.", "text", example="ca.pem")


@dataclass(frozen=True, slots=True)
class Escalation:
    """``escalate:`` of an alert channel."""

    after: str = _word("How long nobody may have acknowledged or mended it.", "duration", required=True, example="30m")
    to: tuple[str, ...] = _word("The channels that hear of it then.", "names", required=True, example="[managers]")


@dataclass(frozen=True, slots=True)
class AlertChannel:
    """A channel of ``alerts:``. At most one of url, mail, apprise; with none, ``also`` says who hears."""

    url: Secret | None = _word("A webhook that takes alerts as JSON.", "setting", example="{ secret: desk_hook }")
    mail: Mail | None = _word("Letters: { host, sender, to, … }.", "mail")
    apprise: Secret | None = _word(
        "An address of apprise, for a hundred chat and paging services (extra alerts).", "secret",
        example="{ secret: teams_address }",
    )  # fmt: skip
    also: tuple[str, ...] = _word("Channels that get the same alerts.", "names", example="[finance]", default=())
    every: str = _word("At most one notice of one alert in this time.", "duration", example="1h", default="1h")
    escalate: Escalation | None = _word("Who hears when nobody acts: { after: 30m, to: [managers] }.", "escalate")
    allow_private: bool = _word(
        "true: the address may lie in a private network.", "boolean", example="true", default=False
    )


@dataclass(frozen=True, slots=True)
class Project:
    root: Path
    name: str = ""
    connections: Mapping[str, ConnectionSpec] = field(default_factory=dict)
    environments: Mapping[str, Environment] = field(default_factory=dict)
    alerts: Mapping[str, Any] = field(default_factory=dict)  # as written; see AlertChannel
    owners: Mapping[str, Any] = field(default_factory=dict)
    secrets_dir: str | None = None
    store_key: Any = None
    store_encrypts: bool = False
    mask: tuple[str, ...] = ()  # paths into any record, without its name
    store_keep: str | None = None  # as written: 90d
    drift: Mapping[str, str] = field(default_factory=dict)  # as written: alert, share, every, pause
    converters: tuple[str, ...] = ()
    on_error: Map | None = None
    document: Document | None = None
    diagnostics: tuple[Diagnostic, ...] = ()

    def environment(self, name: str | None) -> Environment:
        """The named environment; the first one when none is named. Raises ProjectError with the names there are."""
        if name is None:
            return next(iter(self.environments.values()), Environment("default"))
        if name not in self.environments:
            guess = near(name, self.environments)
            known = ", ".join(self.environments) or "none"
            raise ProjectError(
                f"no environment is named '{name}'",
                help=f"did you mean '{guess}'?" if guess else f"{FILE} has: {known}",
            )
        return self.environments[name]

    def connection(self, name: str, environment: Environment | None = None) -> ConnectionSpec:
        """The connection, with what the environment sets differently."""
        if name not in self.connections:
            guess = near(name, self.connections)
            known = ", ".join(self.connections) or "none"
            raise ProjectError(
                f"no connection is named '{name}'",
                help=f"did you mean '{guess}'?" if guess else f"{FILE} has: {known}",
            )
        spec = self.connections[name]
        changed = environment.connections.get(name) if environment else None
        if not changed:
            return spec
        return ConnectionSpec(name, spec.connector, {**spec.settings, **changed}, spec.span, spec.spans)

    def resolve(self, value: Any, environ: Mapping[str, str] | None = None) -> Any:
        """A setting with every reference inside it replaced by its value.

        Where ``{ secret: NAME }`` is looked for: ``secret_places``. Raises ProjectError that names the variable to set.
        """
        environ = os.environ if environ is None else environ
        if isinstance(value, EnvRef):
            if value.name not in environ:
                raise ProjectError(f"{value.span}: the variable {value.name} is not set", help=f"export {value.name}=…")
            return environ[value.name]
        if isinstance(value, SecretRef):
            return self._secret(value, environ)
        if isinstance(value, Mapping):
            return {key: self.resolve(inner, environ) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.resolve(inner, environ) for inner in value]
        return value

    def key(self, environ: Mapping[str, str] | None = None) -> Secret | None:
        """What tokens and payloads are encrypted with (``store: { key: … }``); None when flowrun.yaml names none.

        Raises ProjectError: not set, or a file that others may read.
        """
        if self.store_key is None:
            return None
        if not isinstance(self.store_key, Mapping) or list(self.store_key) != ["file"]:
            found = self.resolve(self.store_key, environ)
            return found if isinstance(found, Secret) else Secret(str(found), "store key")
        path = self.root / str(self.store_key["file"])
        try:
            mode, text = path.stat().st_mode, path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            said = error.strerror if isinstance(error, OSError) else "not a key"
            raise ProjectError(f"the store's key: {path}: {said}", help=f"openssl rand -base64 32 > {path}") from None
        if mode & 0o077:
            raise ProjectError(f"the store's key: others may read {path}", help=f"chmod 600 {path}")
        return Secret(text, "store key")

    def _secret(self, ref: SecretRef, environ: Mapping[str, str]) -> Secret:
        try:
            return find_secret(ref.name, environ, self.root, self.secrets_dir)
        except ProjectError as error:
            raise ProjectError(f"{ref.span}: {error.message}", help=error.help) from None


def find_root(start: Path) -> Path | None:
    """The nearest folder at or above ``start`` that holds flowrun.yaml."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / FILE).is_file():
            return folder
    return None


def load_project(start: Path) -> Project:
    """The project that ``start`` belongs to. Mistakes in flowrun.yaml are in ``diagnostics``.

    Raises ProjectError when there is no flowrun.yaml.
    """
    root = find_root(start if start.is_dir() else start.parent)
    if root is None:
        raise ProjectError(f"no {FILE} in {start} or above it", help="start a project with: flowrun init")
    try:
        text = (root / FILE).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ProjectError(f"{root / FILE} is not UTF-8 text", help="save it as UTF-8") from None
    return read_project(root, parse(text, FILE))


def flow_files(root: Path, paths: Sequence[Path] = ()) -> list[Path]:
    """The flow files that ``paths`` mean (all of flows/ when empty), sorted, each once.

    Raises ProjectError for a path that is not there.
    """
    found: dict[Path, None] = {}
    for path in paths or (root / "flows",):
        if path.is_dir():
            for file in sorted((*path.rglob("*.yaml"), *path.rglob("*.yml"))):
                if (
                    file.name != FILE
                    and file.is_file()
                    and not any(part.startswith(".") for part in file.relative_to(path).parts)
                ):
                    found[file.resolve()] = None
        elif path.is_file():
            if path.name != FILE:
                found[path.resolve()] = None
        elif paths:
            raise ProjectError(f"there is no file or folder '{path}'")
    return list(found)


def shown(root: Path, path: Path) -> str:
    """A path as messages name it: from the project's root on, where it lies inside."""
    resolved = path.resolve()
    return resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else str(path)


def read_project(root: Path, document: Document) -> Project:
    """Document → Project."""
    return _Reader(document).project(root)


_KEYS = {
    "flowrun": "version of the language: 1",
    "project": "the project's name",
    "connections": "the systems this project talks to",
    "environments": "dev, test, qa, prod …: values, sandboxes, store",
    "store": "how the state is kept: what is encrypted, and how long",
    "alerts": "where alerts go, by name",
    "privacy": "what people see of no flow: mask",
    "drift": "when a changed shape of what arrives is told: alert, share, every, pause",
    "owners": "who answers for flows",
    "secrets": "a folder with one file per secret",
    "converters": "converters in Python that flows may use",
    "on_error": "policies for flows that have none of their own",
}
_ENVIRONMENT_KEYS = ("values", "sandbox", "store", "connections", "approvals", "approvers")


class _Reader:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.found: list[Diagnostic] = list(document.problems)

    def say(self, code: str, message: str, node: Node, help: str = "") -> None:
        self.found.append(Diagnostic(code, message, node.span, help=help))

    def project(self, root: Path) -> Project:
        top = self.document.root
        if not isinstance(top, Map):
            if not self.found:
                self.found.append(Diagnostic("FR020", f"{FILE} is empty", self.document.span(0, 0), help="flowrun: 1"))
            return Project(root, document=self.document, diagnostics=tuple(self.found))
        self.known(top, _KEYS)
        version = top.get("flowrun")
        if not (isinstance(version, Scalar) and version.text == LANGUAGE_VERSION):
            self.say("FR021", "the first line must be 'flowrun: 1'", version or top)
        policies = top.get("on_error")
        project = Project(
            root=root,
            name=self.text(top.get("project")) or root.name,
            connections=dict(self.connections(top.get("connections"))),
            environments=dict(self.environments(top.get("environments"))),
            alerts={key: self.plain(node) for key, node in self.entries(top.get("alerts"))},
            owners={key: self.plain(node) for key, node in self.entries(top.get("owners"))},
            secrets_dir=self.text(top.get("secrets")) or None,
            store_key=dict(self.entries(top.get("store"))).get("key") and self.plain(top.get("store"))["key"],
            store_encrypts=self.text(dict(self.entries(top.get("store"))).get("encrypt")) == "true",
            store_keep=self.text(dict(self.entries(top.get("store"))).get("keep")) or None,
            drift={key: self.text(node) for key, node in self.entries(top.get("drift"))},
            mask=self.names(dict(self.entries(top.get("privacy"))).get("mask")),
            converters=self.names(top.get("converters")),
            on_error=policies if isinstance(policies, Map) else None,
            document=self.document,
        )
        for environment in project.environments.values():
            for name in (*environment.sandbox, *environment.connections):
                if name not in project.connections:
                    node = environment.node or top
                    guess = near(name, project.connections)
                    self.say(
                        "FR151", f"no connection is named '{name}'", node, f"did you mean '{guess}'?" if guess else ""
                    )
        return Project(
            **{name: getattr(project, name) for name in project.__slots__ if name != "diagnostics"},
            diagnostics=tuple(sorted(self.found, key=lambda d: d.span.start)),
        )

    def known(self, node: Map, keys: Any) -> None:
        for entry in node.entries:
            if entry.key.text not in keys:
                guess = near(entry.key.text, keys)
                self.say(
                    "FR030",
                    f"unknown key '{entry.key.text}'",
                    entry.key,
                    f"did you mean '{guess}'?" if guess else f"known here: {', '.join(keys)}",
                )

    def entries(self, node: Node | None) -> Iterator[tuple[str, Node]]:
        if isinstance(node, Map):
            for entry in node.entries:
                yield entry.key.text, entry.value
        elif node is not None and not (isinstance(node, Scalar) and node.is_null):
            self.say("FR031", "a block of 'name: …' lines belongs here", node)

    def text(self, node: Node | None) -> str:
        if node is None or (isinstance(node, Scalar) and node.is_null):
            return ""
        if isinstance(node, Scalar):
            return node.text
        self.say("FR031", "one value belongs here", node)
        return ""

    def names(self, node: Node | None) -> tuple[str, ...]:
        """A list of names, or one."""
        if isinstance(node, Map):
            self.say("FR031", "a list of names belongs here", node)
        items = node.items if isinstance(node, Seq) else () if node is None or isinstance(node, Map) else (node,)
        return tuple(text for item in items if (text := self.text(item)))

    def connections(self, node: Node | None) -> Iterator[tuple[str, ConnectionSpec]]:
        for name, value in self.entries(node):
            if not isinstance(value, Map):
                self.say("FR031", f"connection '{name}' needs settings", value, "connector: …")
                continue
            connector = self.text(value.get("connector"))
            if not connector:
                self.say("FR032", f"connection '{name}' names no connector", value, "connector: s4hana")
            settings = {
                e.key.text: self.plain(e.value, references=True) for e in value.entries if e.key.text != "connector"
            }
            spans = {e.key.text: e.key.span for e in value.entries}
            yield name, ConnectionSpec(name, connector, settings, value.span, spans)

    def environments(self, node: Node | None) -> Iterator[tuple[str, Environment]]:
        for name, value in self.entries(node):
            if isinstance(value, Scalar) and value.is_null:
                yield name, Environment(name, span=value.span, node=value)
                continue
            if not isinstance(value, Map):
                self.say("FR031", f"environment '{name}' needs values", value, "values: { … }")
                continue
            self.known(value, _ENVIRONMENT_KEYS)
            store = self.plain(value.get("store"), references=True) if value.get("store") else None
            if isinstance(store, SecretRef):
                store = None
            approvals = self.text(value.get("approvals"))
            yield (
                name,
                Environment(
                    name,
                    values={
                        k: constant(v) if isinstance(v, Scalar) else self.plain(v)
                        for k, v in self.entries(value.get("values"))
                    },
                    sandbox=self.names(value.get("sandbox")),
                    store=store,
                    connections={k: self.plain(v, references=True) for k, v in self.entries(value.get("connections"))},
                    approvals=int(approvals) if approvals.isascii() and approvals.isdigit() else 0,
                    approvers={k: self.text(v) for k, v in self.entries(value.get("approvers"))},
                    span=value.span,
                    node=value,
                ),
            )

    def plain(self, node: Node | None, references: bool = True) -> Any:
        if isinstance(node, Map):
            keys = node.keys()
            if keys in (["env"], ["secret"]) and references:
                name = self.text(node.entries[0].value)
                return EnvRef(name, node.span) if keys == ["env"] else SecretRef(name, node.span)
            return {entry.key.text: self.plain(entry.value, references) for entry in node.entries}
        if isinstance(node, Seq):
            return [self.plain(item, references) for item in node.items]
        return constant(node) if isinstance(node, Scalar) else None


def constant(node: Scalar) -> Any:
    """``value:`` — quoted is text exactly as written; unquoted true, false, 12, 1.5 are what they look like; null is
    null; every other unquoted scalar (NO, 007, 1E5, 2024-01-01) is text."""
    return node.text if not node.plain else unquoted(node.text)


def unquoted(text: str) -> Any:
    """What an unquoted scalar of this text means as a constant."""
    if text in ("true", "false"):
        return text == "true"
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    digits = text[1:] if text[:1] == "-" else text
    whole, point, fraction = digits.partition(".")
    if not whole.isascii() or not whole.isdigit() or (whole[0] == "0" and len(whole) > 1) or len(digits) > 40:
        return text
    if not point:
        return int(text)
    return Decimal(text) if fraction.isascii() and fraction.isdigit() else text
