"""Structured logs: a named event with fields, to standard error; secrets are masked by value and by name."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any
from urllib.parse import quote, quote_plus

import structlog

from flowrun.values import Secret

_SECRET_NAMES = ("password", "secret", "token", "authorization", "api_key", "apikey", "cookie")
_known: dict[str, None] = {}  # the longest first, as one may be part of another
_level = logging.NOTSET


def hide(secret: Secret) -> Secret:
    """Mask this secret's text wherever it would appear in a log line or a message, also as JSON, addresses and programs
    write it. Returns it, for use in passing."""
    text = secret.reveal()
    if len(text) >= 4:  # shorter ones would mask ordinary words
        forms = {text, json.dumps(text)[1:-1], quote(text), quote(text, safe=""), quote_plus(text), repr(text)[1:-1]}
        if not forms <= _known.keys():
            _add(forms)
    return secret


def _add(forms: set[str]) -> None:
    global _known
    _known = dict.fromkeys(sorted(forms | _known.keys(), key=len, reverse=True))


def redact(text: str) -> str:
    for known in _known:
        if known in text:
            text = text.replace(known, "***")
    return text


def without_secrets(value: Any) -> Any:
    """Before it is JSON: there, a quote inside a secret would keep it from being known."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redact(str(name)): without_secrets(inner) for name, inner in value.items()}
    return [without_secrets(inner) for inner in value] if isinstance(value, list | tuple) else value


def _mask(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        event[key] = _masked(key, value)
    return event


def _masked(key: str, value: Any) -> Any:
    if isinstance(value, Secret) or any(word in key.lower() for word in _SECRET_NAMES):
        return "***"
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {name: _masked(str(name), inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(key, inner) for inner in value]
    return value


def configure(form: str = "auto", level: str = "info") -> None:
    """form: ``text``, ``json``, or ``auto`` (JSON when standard error is no terminal)."""
    if form == "auto":
        form = "text" if sys.stderr.isatty() else "json"
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(
            exception_formatter=structlog.dev.plain_traceback  # the rich one prints local variables: whole records
        )
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _mask,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    global _level
    _level = getattr(logging, level.upper())
    for noisy in ("httpx", "httpcore"):  # their lines carry whole addresses, with what stands in queries
        logging.getLogger(noisy).setLevel(logging.WARNING)


def tells(level: str) -> bool:
    """Whether lines of this level are written; where one would be made for each record, it is asked before."""
    return _level <= getattr(logging, level.upper())  # type: ignore[no-any-return]


def log() -> Any:
    return structlog.get_logger()
