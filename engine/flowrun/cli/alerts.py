"""flowrun alerts: what is open, what was told to whom, acknowledge, try a channel."""

from __future__ import annotations

from pathlib import Path

import click

from flowrun.alerts import send_due, words
from flowrun.alerts.channels import Channels
from flowrun.alerts.webhook import NotSent
from flowrun.cli.main import EXIT_FINDINGS, EXIT_OK, EXIT_OUTSIDE
from flowrun.cli.project import project_store, who
from flowrun.diagnostics import near
from flowrun.errors import ProjectError
from flowrun.logs import configure, redact
from flowrun.project import Environment, Project, load_project
from flowrun.store import Store
from flowrun.store.alert_book import AlertBook
from flowrun.store.alert_rows import Alert, Example, Notice
from flowrun.values import system_clock

_ENV = click.option("--env", help="The environment; without it the first of flowrun.yaml.")


_EVENTS = {
    "opened": "opened",
    "reminder": "reminder",
    "escalated": "escalation",
    "resolved": "resolved",
    "test": "test",
}


@click.group(name="alerts")
def command() -> None:
    """What is wrong now, who was told, and the next command."""


def tell(store: Store, project: Project, environment: Environment) -> None:
    """Send what is due, and say which channels could not be told. With simulators about, nobody is told."""
    channels = Channels(project, environment.name, silent=bool(environment.sandbox))
    for channel, reason in send_due(store.alerts, channels).failed.items():
        click.echo(f"note: alert channel '{channel}' was not told: {reason}; it is tried again later", err=True)


@command.command(name="list")
@click.option("--flow", help="Only of this flow.")
@click.option("--connection", help="Only of this connection.")
@click.option("--owner", help="Only what this owner answers for.")
@click.option("--past", is_flag=True, help="What is over instead, the last first.")
@_ENV
def list_(flow: str | None, connection: str | None, owner: str | None, past: bool, env: str | None) -> int:
    """List open alerts, the oldest first. Exit code 1 when there is one that nobody has acknowledged."""
    project, store = project_store(env)
    place = words.Place(project.name, env or "")
    try:
        book = store.alerts
        found = [
            one
            for one in (book.history() if past else book.open())
            if (flow is None or flow in (one.flow, *one.flows))
            and (connection is None or one.connection == connection)
            and (owner is None or owner in one.owners)
        ]
        undelivered = {one.alert.id: one for one in book.notices(state="waiting") if one.error}
        now = store.time()
    finally:
        store.close()
    for alert in found:
        click.echo(f"{alert.id:>4}  {_age(alert, now):<10}  {words.subject(alert)}{_marks(alert, now)}")
        click.echo(f"      {alert.message}")
        if not past:
            click.echo(f"      next: {words.next_command(alert, place)}")
        if alert.id in undelivered:
            late = undelivered[alert.id]
            click.echo(f"      not delivered to {late.channel}: {late.error}")
    click.echo(f"{len(found)} {'past' if past else 'open'} alert{'s' * (len(found) != 1)}")
    waiting = [one for one in found if one.state == "open" and not one.acknowledged(now)]
    return EXIT_FINDINGS if waiting else EXIT_OK


def _age(alert: Alert, now: float) -> str:
    return words.span((alert.resolved_at or now) - alert.first_at)


def _marks(alert: Alert, now: float) -> str:
    marks = [f"{alert.count:,} times"] if alert.count != 1 else []
    if alert.state == "open" and alert.acknowledged(now):
        marks.append(f"acknowledged by {alert.ack_by}")
    if alert.state == "open" and alert.level:
        marks.append("escalated")
    return f"  ({', '.join(marks)})" if marks else ""


@command.command()
@click.argument("number", type=int)
@_ENV
def show(number: int, env: str | None) -> int:
    """Show one: what happened, to how many, since when, and who was told."""
    project, store = project_store(env)
    place = words.Place(project.name, env or "")
    try:
        book = store.alerts
        alert = _one(book, number)
        notices = book.notices(number)
        now = store.time()
    finally:
        store.close()
    click.echo(f"{words.subject(alert)}{_marks(alert, now)}  [{alert.state}]")
    for line in words.lines(alert, place):
        click.echo(line)
    for notice in notices:
        click.echo(f"  {words.moment(notice.at)}  {_EVENTS[notice.event]:<10}  {notice.channel}: {_fate(notice)}")
    if not alert.channel:
        click.echo("  no flow names a channel for it: nobody is told")
    return EXIT_OK


def _fate(notice: Notice) -> str:
    if notice.state == "sent":
        return "delivered" + (f" at try {notice.tries}" if notice.tries > 1 else "")
    if notice.state == "replaced":
        return "replaced by a newer one"
    return f"waits; {notice.error}; next try {words.moment(notice.due)}" if notice.error else "waits"


def _one(book: AlertBook, number: int) -> Alert:
    alert = book.get(number)
    if alert is None:
        numbers = ", ".join(str(one.id) for one in book.open()[:10]) or "none"
        raise ProjectError(f"there is no alert {number}", help=f"open alerts: {numbers}")
    return alert


@command.command()
@click.argument("number", type=int)
@_ENV
def ack(number: int, env: str | None) -> int:
    """Take one in hand: no reminder and no escalation for a day, or until it is twice as many. Kept in the audit."""
    _, store = project_store(env)
    try:
        book = store.alerts
        if book.acknowledge(number, who()) is None:
            alert = _one(book, number)
            raise ProjectError(
                f"alert {number} is over", help=f"it was resolved at {words.moment(alert.resolved_at or 0)}"
            )
    finally:
        store.close()
    click.echo(f"acknowledged {number}: quiet for a day, or until it is twice as many")
    return EXIT_OK


@command.command()
@click.argument("channel")
@click.option("--env", help="The environment that the notice names; without it the first of flowrun.yaml.")
def test(channel: str, env: str | None) -> int:
    """Send a test notice to one channel, and to nobody else. Exit code 4 when it could not be delivered."""
    configure("auto", "warning")
    project = load_project(Path.cwd())
    if channel not in project.alerts:
        guess = near(channel, project.alerts)
        known = ", ".join(project.alerts) or "none"
        raise ProjectError(
            f"flowrun.yaml has no alert channel '{channel}'",
            help=f"did you mean '{guess}'?" if guess else f"channels: {known}",
        )
    if not any(way in (project.alerts[channel] or {}) for way in ("url", "mail", "apprise")):
        also = ", ".join(Channels(project).routes[channel].also)
        raise ProjectError(f"channel '{channel}' has no address of its own", help=f"test the ones it names: {also}")
    try:
        Channels(project, project.environment(env).name).send(_test_notice(channel))
    except NotSent as error:
        click.echo(redact(f"error: channel '{channel}' was not told: {error}"), err=True)
        return EXIT_OUTSIDE
    click.echo(f"told {channel}; look there for the test notice")
    return EXIT_OK


def _test_notice(channel: str) -> Notice:
    now = system_clock().timestamp()
    alert = Alert(
        id=0, channel=channel, flow="test", connection="", kind="test", state="open", lasting=False, count=1,
        message="A test: this channel works.", place="", examples=(Example("", who(), ""),), first_at=now, last_at=now,
        opened_at=now, settled_at=None, resolved_at=None, told=False, told_count=0, next_notice_at=now, level=0,
        ack_count=None, ack_at=None, ack_by=None,
    )  # fmt: skip
    return Notice(0, f"test-{int(now)}", "test", channel, alert, "waiting", 1, now, now)
