"""The promise that no secret shows: in no repr, error, log line or traceback."""

from __future__ import annotations

import base64
import contextlib
import io
import logging
import traceback
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from flowrun.errors import ConnectorError
from flowrun.logs import configure
from flowrun.testing.contract_suite import NotPromised, Subject, promise
from flowrun.testing.promises.asking import deliver, healed, item, reads, records, struck, writes
from flowrun.testing.simulator import Simulator
from flowrun.values import Secret

_NAMES = ("password", "secret", "token", "key")
_FAULTS = ("", "401*", "403*", "429*", "500*", "503*", "garbage*", "html200*", "reset_before*", "half_open*", "307*")


@promise()
def no_secret_shows(subject: Subject) -> None:
    """Reads, writes and checks that go well or badly, with logging at DEBUG: the settings' secrets appear nowhere."""
    with subject.world() as world:
        settings = {**world.connection_settings(), **subject.settings}
        canaries = _forms(settings)
        if not canaries:
            raise NotPromised("it has no secret")
        heard = io.StringIO()
        with _listening(heard):
            for fault in _FAULTS if isinstance(world, Simulator) else ("",):
                with subject.connected(world) as connector:
                    if fault and isinstance(world, Simulator):
                        struck(world, f"{fault};hang=0.6")
                    for call in _calls(subject, world, connector):
                        heard.write(_said(call))
                    healed(world)
                    for thing in (connector, connector.settings, getattr(connector, "http", None)):
                        heard.write(f"\n{thing!r} {thing}\n")
        told = heard.getvalue()
        for name, canary in canaries:
            if canary in told:
                at = told.index(canary)
                around = told[max(0, at - 120) : at].replace("\n", " ")
                raise AssertionError(f"'{name}' shows after: …{around}")


def _calls(subject: Subject, world: Any, connector: Any) -> Iterator[Any]:
    if subject.read is not None:
        how = reads(subject)
        yield lambda: records(connector, how)
    if subject.write is not None:
        target = writes(subject)
        yield lambda: deliver(connector, item(target, world, 1))
        if target.find:
            by = {name: target.body(world, 1)[name] for name in target.find}
            yield lambda: connector.find(target.object, by)
    if hasattr(connector, "check"):
        yield connector.check


def _said(call: Any) -> str:
    """Everything that a caller could print of what happened."""
    try:
        found = call()
    except Exception as error:
        text = "".join(traceback.format_exception(error))
        facts = [error.help, error.code, error.field, error.details] if isinstance(error, ConnectorError) else []
        return f"{text}\n{error!r} {facts}\n"
    if isinstance(found, ConnectorError):
        return f"{found!r} {found} {found.help} {found.code} {found.field} {found.details}\n"
    return f"{found!r}\n"


@contextlib.contextmanager
def _listening(heard: io.StringIO) -> Iterator[None]:
    root = logging.getLogger()
    handler, level = logging.StreamHandler(heard), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    quiet = {name: logging.getLogger(name).level for name in ("httpx", "httpcore")}
    try:
        with contextlib.redirect_stderr(heard), contextlib.redirect_stdout(heard):
            configure("json", "debug")
            for name in quiet:
                logging.getLogger(name).setLevel(logging.DEBUG)  # somebody looks for a fault, and asks for all
            yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        for name, before in quiet.items():
            logging.getLogger(name).setLevel(before)
        configure("auto", "warning")


def _secrets(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(name, text) of every credential in settings: what is a Secret, and what is named like one."""
    if isinstance(value, Secret):
        yield path, value.reveal()
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _secrets(inner, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _secrets(inner, path)
    elif isinstance(value, str) and len(value) >= 6:
        leaf = path.rsplit(".", 1)[-1]
        if any(word in leaf for word in _NAMES) and not leaf.endswith("_url"):
            yield path, value


def _forms(settings: dict[str, Any]) -> list[tuple[str, str]]:
    """Each secret as it might show: plain, in an address, and packed together with its user."""
    found = [(name, form) for name, text in _secrets(settings) for form in dict.fromkeys((text, quote(text, safe="")))]
    for scheme in settings.get("auth", {}).values() if isinstance(settings.get("auth"), dict) else ():
        for user, password in (("user", "password"), ("client_id", "client_secret")):
            if user in scheme and password in scheme:
                pair = f"{_plain(scheme[user])}:{_plain(scheme[password])}"
                found.append((password, base64.b64encode(pair.encode()).decode()))
    return found


def _plain(value: Any) -> str:
    return value.reveal() if isinstance(value, Secret) else str(value)
