"""Opening a connection: settings resolved, checked against the connector's own, and a client with everything in place.

A connection that the environment lists under ``sandbox`` runs against its connector's simulator, in this process, with
its state kept in ``.flowrun/sandbox/NAME.json``. One that works on files does so in ``.flowrun/sandbox/NAME/``
instead of its own folder.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from flowrun.certificates import OwnCertificate, Pair, read_pem
from flowrun.connector import Registry
from flowrun.diagnostics import near
from flowrun.errors import ProjectError
from flowrun.logs import hide
from flowrun.pacing.gate import Gate, Ledger
from flowrun.pacing.rates import read_rates
from flowrun.project import Environment, Project
from flowrun.tokens import OnTrouble, Renewing, Rotating, Troubles, open_auth
from flowrun.transport import Limits, build_client
from flowrun.values import Clock, Secret, decode_json, encode_json

if TYPE_CHECKING:
    from flowrun.store.cover import Cover
    from flowrun.store.database import Database
    from flowrun.store.seal import Seal
    from flowrun.store.vault import Vault

COMMON = ("auth", "limits", "allow_private", "verify", "client_cert", "client_key", "client_key_password")
"""Settings that every connection has; the engine reads them."""
_CERTIFICATE_SOON = timedelta(days=30)


def open_connection(
    project: Project,
    environment: Environment,
    name: str,
    registry: Registry,
    *,
    now: Clock,
    environ: Mapping[str, str] | None = None,
    transport: httpx.BaseTransport | None = None,
    vault: Vault | None = None,
    on_trouble: OnTrouble | None = None,
    budgets: Ledger | None = None,
) -> Any:
    """The connector of a connection, ready to use. Raises ProjectError that says which setting to mend.

    vault: where tokens are kept and shared between processes; without it they live in memory.
    budgets: the same for what is left of limits; without it each process keeps to its own pace.
    on_trouble: told of credentials that end, are refused, or need a person.
    """
    spec = project.connection(name, environment)
    if spec.connector not in registry:
        guess = near(spec.connector, registry)
        raise ProjectError(
            f"connection '{name}': no connector '{spec.connector}'", help=f"did you mean '{guess}'?" if guess else ""
        )

    def read() -> Mapping[str, Any]:
        found: Mapping[str, Any] = project.resolve(spec.settings, os.environ if environ is None else environ)
        return found

    return build(
        registry[spec.connector],
        name,
        read(),
        now=now,
        root=project.root,
        transport=transport,
        read=read,
        vault=vault,
        on_trouble=on_trouble,
        budgets=budgets,
    )


def build(
    cls: Any,
    name: str,
    settings: Mapping[str, Any],
    *,
    now: Clock,
    root: Path,
    transport: httpx.BaseTransport | None = None,
    read: Callable[[], Mapping[str, Any]] | None = None,
    vault: Vault | None = None,
    on_trouble: OnTrouble | None = None,
    budgets: Ledger | None = None,
) -> Any:
    """A connector from resolved settings. read: the settings with their references read anew."""
    again = _hidden(read or (lambda: settings))
    _hide_all(settings)
    common = {key: settings[key] for key in COMMON if key in settings}
    own = _own(cls, name, settings)
    base_url = getattr(own, "base_url", None)
    if base_url is None:
        return cls(own, None, now) if not hasattr(cls, "takes_root") else cls(own, None, now, root=root)
    cert = _certificate(name, common, again, root, Troubles(name, on_trouble), now)
    auth = _auth(cls, name, again, str(base_url), now, vault, on_trouble)
    gate = None if budgets is None else _gate(cls, name, common.get("limits"), budgets)
    return cls(own, client_of(str(base_url), common, root, auth, cert, transport, gate), now)


def _gate(cls: Any, name: str, given: Mapping[str, Any] | None, budgets: Ledger) -> Gate:
    """``concurrent`` counts over all processes where it is written; the default is each process' own."""
    limits = limits_of(given)
    concurrent = limits.concurrent if "concurrent" in (given or {}) else None
    return Gate(name, limits.rates, budgets, getattr(cls, "limit_headers", ()), concurrent=concurrent)


def client_of(
    url: str,
    settings: Mapping[str, Any],
    root: Path,
    auth: httpx.Auth | None = None,
    cert: OwnCertificate | None = None,
    transport: httpx.BaseTransport | None = None,
    gate: Gate | None = None,
) -> httpx.Client:
    """A client for an address with the limits, trust and reach that a connection's settings ask for."""
    return build_client(
        url,
        auth=auth,
        limits=limits_of(settings.get("limits")),
        allow_private=str(settings.get("allow_private", "")).lower() == "true",
        verify=_verify(settings.get("verify", True), root),
        cert=cert,
        transport=transport,
        gate=gate,
    )


def vault_of(
    project: Project, database: Database, *, now: Clock, environ: Mapping[str, str] | None = None
) -> Vault | None:
    """Where the project's tokens are kept; None when flowrun.yaml names no key. Raises ProjectError."""
    key = project.key(environ)
    if key is None:
        return None
    from flowrun.store.seal import Seal
    from flowrun.store.vault import Vault

    return Vault(database, now, Seal(hide(key)))


def cover_of(project: Project, environ: Mapping[str, str] | None = None) -> Cover:
    """What closes and opens the payloads of the project's store. Raises ProjectError."""
    from flowrun.store.cover import Cover

    def read() -> Seal | None:
        key = project.key(environ)
        if key is None:
            return None
        from flowrun.store.seal import Seal

        return Seal(hide(key))

    return Cover(read, encrypts=project.store_encrypts)


def _own(cls: Any, name: str, settings: Mapping[str, Any]) -> Any:
    return settings_of(cls, name, {key: value for key, value in settings.items() if key not in COMMON})


def _hidden(read: Callable[[], Mapping[str, Any]]) -> Callable[[], Mapping[str, Any]]:
    def again() -> Mapping[str, Any]:
        found = read()
        _hide_all(found)
        return found

    return again


def _auth(
    cls: Any,
    name: str,
    read: Callable[[], Mapping[str, Any]],
    base_url: str,
    now: Clock,
    vault: Vault | None,
    on_trouble: OnTrouble | None,
) -> httpx.Auth | None:
    """A connector's own way to carry its secrets, else what ``auth:`` says."""
    if hasattr(cls, "auth"):
        return Rotating(name, cls.auth, lambda: _own(cls, name, read()), Troubles(name, on_trouble))

    def auth() -> Any:
        return read().get("auth")

    return open_auth(name, auth, base_url=base_url, now=now, vault=vault, on_trouble=on_trouble)


def _certificate(
    name: str,
    common: Mapping[str, Any],
    read: Callable[[], Mapping[str, Any]],
    root: Path,
    troubles: Troubles,
    now: Clock,
) -> OwnCertificate | None:
    """Our own certificate; says when it ends soon. Raises ProjectError."""
    if "client_cert" not in common:
        if "client_key" in common:
            raise ProjectError(f"connection '{name}' has a client_key and no client_cert", help="client_cert: FILE.pem")
        return None

    def pair() -> Pair:
        found = read()
        chain = read_pem(found["client_cert"], root, "client_cert")
        key = read_pem(found["client_key"], root, "client_key") if found.get("client_key") else None
        password = found.get("client_key_password")
        return Pair(chain, key, password if isinstance(password, Secret) or not password else Secret(str(password)))

    cert = OwnCertificate(pair)
    ends_at = cert.ends_at()
    if ends_at is not None and ends_at < now() + _CERTIFICATE_SOON:
        troubles.say("expiring", f"the client certificate of '{name}' ends on {ends_at:%Y-%m-%d}", ends_at)
    return cert


def _verify(setting: Any, root: Path) -> str | bool:
    """``verify:`` true, false, or a file of trusted authorities, relative to the project."""
    word = str(setting).lower()
    return word == "true" if word in ("true", "false") else str(root / str(setting))


def settings_of(cls: Any, name: str, given: Mapping[str, Any]) -> Any:
    """The connector's ``Settings`` from a mapping. Raises ProjectError: unknown or missing setting, wrong type."""
    fields = {one.name: one for one in dataclasses.fields(cls.Settings)}
    for key in given:
        if key not in fields:
            guess = near(key, (*fields, *COMMON))
            raise ProjectError(
                f"connection '{name}' has no setting '{key}'",
                help=f"did you mean '{guess}'?" if guess else f"settings: {', '.join((*fields, *COMMON))}",
            )
    values = {}
    for key, one in fields.items():
        if given.get(key) is not None:  # null is "not set"
            values[key] = _typed(name, key, one.type, given[key])
        elif one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
            raise ProjectError(f"connection '{name}' lacks '{key}'", help=str(one.metadata.get("doc", "")))
    return cls.Settings(**values)


def _typed(name: str, key: str, kind: Any, value: Any) -> Any:
    text = str(kind)
    if "Secret" in text and not isinstance(value, Secret | list):
        return hide(Secret(str(value), key))
    if "Secret" not in text and isinstance(value, Secret):
        return value.reveal() if text == "str" else value
    if text.startswith("int") and not isinstance(value, bool):
        try:
            return int(value)
        except (TypeError, ValueError):
            raise ProjectError(f"connection '{name}': '{key}' is a whole number, not '{value}'") from None
    if text.startswith("bool"):
        if str(value).lower() not in ("true", "false"):
            raise ProjectError(f"connection '{name}': '{key}' is true or false, not '{value}'")
        return str(value).lower() == "true"
    return value


_LIMITS = "limits: { rate: 20/s, concurrent: 8, timeout: 30s }"


def limits_of(given: Mapping[str, Any] | None) -> Limits:
    """``{ rate: 5/s 60/m, concurrent: 8, timeout: 30s }``. Raises ProjectError."""
    limits = Limits()
    for key, value in (given or {}).items():
        text = str(value)
        try:
            if key == "rate":
                limits = dataclasses.replace(limits, rates=read_rates(text))
            elif key == "concurrent":
                limits = dataclasses.replace(limits, concurrent=max(1, int(text)))
            elif key == "webhooks":
                read_rates(text)  # the door keeps it: ``service.turnstile``
            elif key == "timeout":
                limits = dataclasses.replace(limits, timeout=float(text.removesuffix("s")))
            else:
                raise ProjectError(f"there is no limit '{key}'", help=_LIMITS)
        except ValueError:
            raise ProjectError(f"limit {key}: '{text}' makes no sense", help=_LIMITS) from None
    return limits


def _hide_all(value: Any) -> None:
    if isinstance(value, Secret):
        hide(value)
    elif isinstance(value, Mapping):
        for inner in value.values():
            _hide_all(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _hide_all(inner)


def simulator_of(cls: Any, name: str, settings: Mapping[str, Any] | None = None) -> Any:
    """A new simulator of a connector, for a connection with these settings. Raises ProjectError when it has none."""
    where = getattr(cls, "simulator", "")
    if not where:
        help = "a sandboxed connection works in .flowrun/sandbox/NAME/" if hasattr(cls, "takes_root") else ""
        raise ProjectError(f"connector '{name}' has no simulator", help=help)
    module, _, attribute = where.partition(":")
    return getattr(importlib.import_module(module), attribute).for_settings(settings or {})


@contextmanager
def opened(
    project: Project,
    environment: Environment,
    names: tuple[str, ...],
    registry: Registry,
    *,
    now: Clock,
    environ: Mapping[str, str] | None = None,
    vault: Vault | None = None,
    on_trouble: OnTrouble | None = None,
    budgets: Ledger | None = None,
    keep: bool = True,
) -> Iterator[dict[str, Any]]:
    """Connectors by connection name; sandboxed ones against their simulators, whose state is kept at the end.

    vault, on_trouble, budgets: see ``open_connection``. keep False: no simulator's state is, for commands that only
    look.
    """
    with ExitStack() as stack:
        found: dict[str, Any] = {}
        for name in dict.fromkeys(names):
            if name in environment.sandbox:
                found[name] = _sandboxed(stack, project, environment, name, registry, now, keep)
            else:
                found[name] = open_connection(
                    project,
                    environment,
                    name,
                    registry,
                    now=now,
                    environ=environ,
                    vault=vault,
                    on_trouble=on_trouble,
                    budgets=budgets,
                )
            client = getattr(found[name], "http", None)
            if isinstance(client, httpx.Client):
                stack.callback(client.close)
                if isinstance(client.auth, Renewing):
                    stack.callback(client.auth.close)  # before the client that carries its farewell
        yield found


def _sandboxed(
    stack: ExitStack, project: Project, environment: Environment, name: str, registry: Registry, now: Clock, keep: bool
) -> Any:
    spec = project.connection(name, environment)
    if spec.connector not in registry:
        raise ProjectError(f"connection '{name}': no connector '{spec.connector}'")
    cls = registry[spec.connector]
    fields = {one.name for one in dataclasses.fields(cls.Settings)}
    plain = {key: value for key, value in spec.public().items() if key in fields and key != "base_url"}
    if hasattr(cls, "takes_root"):
        folder = Path(".flowrun") / "sandbox" / name
        if keep:
            (project.root / folder).mkdir(parents=True, exist_ok=True)
        return build(cls, name, {**plain, "root": str(folder)}, now=now, root=project.root)
    simulator = simulator_of(cls, spec.connector, plain)
    path = project.root / ".flowrun" / "sandbox" / f"{name}.json"
    if path.is_file():
        simulator.load(decode_json(path.read_bytes()))
    else:
        simulator.furnish()
    if keep:
        stack.callback(_keep, simulator, path)
    stack.enter_context(simulator.running())
    return build(cls, name, {**plain, **simulator.connection_settings()}, now=now, root=project.root)


def _keep(simulator: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_suffix(".tmp")
    whole.write_bytes(encode_json(simulator.dump()))
    whole.replace(path)
