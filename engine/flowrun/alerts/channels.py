"""A project's channels, each opened when it is first used, and what each makes of a notice."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from flowrun.alerts import words
from flowrun.alerts.mail import letter, post_letter
from flowrun.alerts.services import notify
from flowrun.alerts.settings import channel_of, routes_of
from flowrun.alerts.webhook import NotSent, post
from flowrun.egress import Resolve, resolve
from flowrun.errors import ProjectError
from flowrun.logs import log
from flowrun.project import AlertChannel, Project
from flowrun.store.alert_rows import Notice


class Channels:
    """environ: where references are looked up; None: the process's own environment. silent: alerts are kept and
    listed, and nobody is told: what a simulator does is no matter for a pager."""

    def __init__(
        self,
        project: Project,
        environment: str = "",
        *,
        environ: Mapping[str, str] | None = None,
        silent: bool = False,
        resolve: Resolve = resolve,
    ) -> None:
        self.routes = routes_of(project)
        self.place = words.Place(project.name, environment)
        self._project = project
        self._environ = environ
        self._silent = silent
        self._resolve = resolve

    def send(self, notice: Notice) -> None:
        """Raises NotSent. Settings are read each time, so a secret that was set meanwhile is found."""
        if self._silent:
            return
        try:
            channel = channel_of(self._project, notice.channel, self._environ)
        except ProjectError as error:
            raise NotSent(error.message + (f" ({error.help})" if error.help else "")) from None
        title, text = words.title(notice, self.place), words.text(notice, self.place)
        if channel.url is not None:
            body = words.payload(notice, self.place, notice.channel)
            post(channel.url, body, notice.name, allow_private=channel.allow_private, resolve=self._resolve)
        elif channel.mail is not None:
            self._mail(notice, channel, title, text)
        elif channel.apprise is not None:
            notify(channel.apprise, title, text)
        # A channel of none of these only names others under also:; they have notices of their own.

    def _mail(self, notice: Notice, channel: AlertChannel, title: str, text: str) -> None:
        assert channel.mail is not None
        made = letter(
            channel.mail,
            title,
            text,
            name=notice.name,
            thread=f"alert-{notice.alert.id}-{int(notice.alert.first_at)}",
            at=datetime.fromtimestamp(notice.at, UTC),
        )
        refused = post_letter(
            channel.mail, made, root=self._project.root, allow_private=channel.allow_private, resolve=self._resolve
        )
        if refused:
            log().warning("recipients refused", channel=notice.channel, recipients=refused)
