"""``alerts:`` of flowrun.yaml as values: routes at once, and a channel's own settings when it is first used.

So a secret that is not set costs the notices of its channel a delay, and no run anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowrun.errors import ProjectError
from flowrun.flow.reading import seconds
from flowrun.logs import hide
from flowrun.project import AlertChannel, Escalation, Mail, Project
from flowrun.store.alert_rows import Route
from flowrun.values import Secret


def routes_of(project: Project) -> dict[str, Route]:
    """Who hears of what, by channel. Reads no secret."""
    return {name: _route(written or {}) for name, written in project.alerts.items()}


def _route(written: Mapping[str, Any]) -> Route:
    escalate = written.get("escalate") or {}
    return Route(
        also=_names(written.get("also")),
        every_secs=_seconds(written.get("every", "1h"), "every"),
        escalate_after_secs=_seconds(escalate["after"], "after") if "after" in escalate else None,
        escalate_to=_names(escalate.get("to")),
    )


def channel_of(project: Project, name: str, environ: Mapping[str, str] | None = None) -> AlertChannel:
    """A channel with its references resolved. Raises ProjectError that says what to mend."""
    if name not in project.alerts:
        known = ", ".join(project.alerts) or "none"
        raise ProjectError(f"flowrun.yaml has no alert channel '{name}'", help=f"channels: {known}")
    found = project.resolve(project.alerts[name] or {}, environ)
    mail = found.get("mail")
    return AlertChannel(
        url=_secret(found.get("url")),
        mail=_mail(name, mail) if mail else None,
        apprise=_secret(found.get("apprise")),
        also=_names(found.get("also")),
        every=str(found.get("every", "1h")),
        escalate=Escalation(str(found["escalate"]["after"]), _names(found["escalate"]["to"]))
        if found.get("escalate")
        else None,
        allow_private=_true(found.get("allow_private")),
    )


def _mail(channel: str, found: Mapping[str, Any]) -> Mail:
    for name in ("host", "sender", "to"):
        if not found.get(name):
            raise ProjectError(f"alert channel '{channel}': mail lacks '{name}'")
    try:
        port = int(_plain(found["port"])) if found.get("port") is not None else None
    except ValueError:
        raise ProjectError(f"alert channel '{channel}': the port of the mail server is no number") from None
    return Mail(
        host=_plain(found["host"]),
        sender=_plain(found["sender"]),
        to=_names(found["to"]),
        tls=str(found.get("tls", "starttls")),
        port=port,
        user=_plain(found["user"]) if found.get("user") is not None else None,
        password=_secret(found.get("password")),
        verify=_plain(found["verify"]) if found.get("verify") is not None else None,
    )


def _secret(value: Any) -> Secret | None:
    """Whoever holds a webhook's address may write to it: it is masked like any secret."""
    if value is None:
        return None
    return hide(value if isinstance(value, Secret) else Secret(str(value)))


def _plain(value: Any) -> str:
    return hide(value).reveal() if isinstance(value, Secret) else str(value)


def _names(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(str(one) for one in value) if isinstance(value, list | tuple) else (str(value),)


def _seconds(text: Any, what: str) -> float:
    found = seconds(str(text))
    if found is None:
        raise ProjectError(f"{what} is a time span such as 30m, not '{text}'")
    return float(found)


def _true(value: Any) -> bool:
    return str(value).lower() == "true"
