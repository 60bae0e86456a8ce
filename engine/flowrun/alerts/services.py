"""Alerts through apprise: a hundred chat and paging services by one address each (extra ``alerts``)."""

from __future__ import annotations

import logging

from flowrun.alerts.webhook import NotSent
from flowrun.values import Secret


def notify(address: Secret, title: str, text: str) -> None:
    """apprise speaks with its own client and its own time limits; the rules of egress do not bind it.

    Raises NotSent, also when the extra is not installed.
    """
    try:
        import apprise
    except ImportError:
        raise NotSent("apprise is not installed: pip install 'flowrun[alerts]'") from None
    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its lines carry whole addresses
    services = apprise.Apprise()
    if not services.add(address.reveal()):
        raise NotSent("apprise does not know this address")
    # As text: for services that show HTML or Markdown apprise makes it inert.
    if not services.notify(title=title, body=text, body_format=apprise.NotifyFormat.TEXT):
        raise NotSent("the service did not take it")
