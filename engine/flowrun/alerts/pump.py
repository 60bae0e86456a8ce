"""The pump: what is due goes out, channel by channel; a channel that is down delays no other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from flowrun.alerts.webhook import NotSent
from flowrun.logs import log, redact
from flowrun.store.alert_book import AlertBook
from flowrun.store.alert_rows import Notice, Route


class Sends(Protocol):
    @property
    def routes(self) -> dict[str, Route]: ...
    def send(self, notice: Notice) -> None: ...


@dataclass(slots=True)
class Told:
    """What became of one pass. failed: channel → why its notices wait for another time."""

    sent: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def send_due(book: AlertBook, channels: Sends) -> Told:
    """One pass: at the end of each run, and every few seconds in a service. By the book's clock.

    Notices that cannot be delivered stay in the store and are tried again, ever more rarely. Raises StoreError only.
    """
    told = Told()
    for notice in book.due(channels.routes):
        if notice.channel in told.failed:  # it has just shown that it is not there
            book.failed([notice], told.failed[notice.channel])
            continue
        try:
            channels.send(notice)
        except NotSent as error:
            told.failed[notice.channel] = redact(str(error))
        except Exception as error:  # somebody else's library; an alert must not end a run
            log().error("alert channel broke", channel=notice.channel, error=type(error).__name__)
            told.failed[notice.channel] = f"the channel broke: {type(error).__name__}"
        else:
            book.sent(notice)
            told.sent += 1
            continue
        book.failed([notice], told.failed[notice.channel])
        log().warning("alert not delivered", channel=notice.channel, reason=told.failed[notice.channel])
    return told
