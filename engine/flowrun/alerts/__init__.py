"""Alerts: raised with the outcome that causes them, kept by ``store.alert_book``, told by ``pump``."""

from flowrun.alerts.pump import Told, send_due
from flowrun.alerts.raising import (
    agrees,
    channels_of,
    differs,
    guarded,
    hears,
    passed,
    placed,
    raise_alert,
    renewed,
    say_begun,
    settled,
    trouble,
    unread,
)

__all__ = [
    "Told",
    "agrees",
    "channels_of",
    "differs",
    "guarded",
    "hears",
    "passed",
    "placed",
    "raise_alert",
    "renewed",
    "say_begun",
    "send_due",
    "settled",
    "trouble",
    "unread",
]
