"""``drift:`` of flowrun.yaml as values, and what of a look is told to whom."""

from __future__ import annotations

from dataclasses import dataclass

from flowrun.drift.comparing import Limits
from flowrun.drift.findings import Finding
from flowrun.drift.looking import Look
from flowrun.flow.model import Flow
from flowrun.flow.reading import percentage, seconds
from flowrun.project import Project
from flowrun.store.alert_rows import Alert, Incident

KIND = "drift"


@dataclass(frozen=True, slots=True)
class Settings:
    """channel: None: whom the flow names for bad_data. pauses: the flow, too, from the share on."""

    limits: Limits
    every_secs: float = 900.0
    channel: str | None = None
    pauses: bool = False


def settings_of(project: Project) -> Settings:
    """What is not written, or wrong (``flowrun validate`` says so), is as without it."""
    written = project.drift
    share, every = percentage(written.get("share", "")), seconds(written.get("every", ""))
    return Settings(
        Limits(float(share)) if share is not None else Limits(),
        float(every) if every else 900.0,
        written.get("alert") or None,
        written.get("pause") == "true",
    )


def counts(finding: Finding, settings: Settings) -> bool:
    """Whether people are told: a code without a row always, since each record that holds it goes wrong."""
    return finding.kind == "no row" or finding.share >= settings.limits.share


def incident_of(look: Look, settings: Settings) -> Incident | None:
    """One alert for all that counts; None when nothing does."""
    found = [one for one in look.findings if counts(one, settings)]
    if not found:
        return None
    flow = look.flow
    message = "; ".join(one.message + (f" (read at {_places(one)})" if one.places else "") for one in found)
    place = next((f"{at.file}:{at.line}" for one in found for at in one.places), "")
    key = next((one.after.key for one in found if one.after is not None), "")
    return Incident(_channel(flow, settings), KIND, message, flow=flow.name, owner=flow.owner, key=key, place=place)


def is_told(look: Look, settings: Settings, alert: Alert) -> bool:
    """Whether an alert that is open tells of all that counts now."""
    paths = [one.path for one in look.findings if counts(one, settings)]
    return alert.message.endswith("…") or all(path in alert.message for path in paths)


def _places(finding: Finding) -> str:
    return ", ".join(dict.fromkeys(f"{one.file}:{one.line}" for one in finding.places[:3]))


def _channel(flow: Flow, settings: Settings) -> str:
    if settings.channel is not None:
        return settings.channel
    policy = flow.on_error.get("bad_data") or flow.on_error.get("other")
    return policy.alert if policy is not None and policy.alert else ""
