"""Alerts: raised with the outcome that causes them, kept by ``store.alert_book``, told by ``pump``."""

from flowrun.alerts.pump import Told, send_due
from flowrun.alerts.raising import book_of, channels_of, raise_alert, renewed, settled, trouble

__all__ = ["Told", "book_of", "channels_of", "raise_alert", "renewed", "send_due", "settled", "trouble"]
