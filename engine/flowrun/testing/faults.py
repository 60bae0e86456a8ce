"""Faults on request, seeded: ``429*2,503:0.1,reset_after:0.05;seed=7;path=A_SalesOrder;only=writes``.

``KIND``: the next request. ``KIND*N``: the next N. ``KIND*``: every one. ``KIND:P``: with probability P.
Options after ``;``: seed, path (a part of it), method, only (reads, writes), hang (seconds), retry_after, location.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from typing import Literal

from flowrun.errors import ProjectError

REDIRECTS = ("301", "302", "303", "307", "308")

KINDS = {
    "429": "refused for now, with Retry-After",
    "500": "an error page; nothing was done",
    "503": "a maintenance page, with Retry-After; nothing was done",
    "500_after": "done, then an error page",
    "401": "the credentials are not taken",
    "403": "not allowed",
    "expired_token": "the access token is no longer good; a new one is",
    "timeout_before": "no answer for a while, then the connection ends; nothing was done",
    "timeout_after": "done, but no answer for a while, then the connection ends",
    "reset_before": "the connection is reset; nothing was done",
    "reset_after": "done, then the connection is reset",
    "half_open": "never an answer, and never an end",
    "slow_drip": "done, and answered one byte at a time",
    "truncated": "done, and half an answer",
    "garbage": "200 with broken JSON; nothing was done",
    "garbage_after": "done, and 200 with broken JSON",
    "html200": "200 with a web page; nothing was done",
    "empty200": "200 with nothing; nothing was done",
    "not_utf8": "200 with JSON that is no UTF-8; nothing was done",
    "error_in_200": "200 with the system's own way of saying no; nothing was done",
    "huge": "200 with an answer that does not end",
    "gzip_bomb": "200 with a small answer that unpacks to half a gigabyte",
    "stuck": "every list answers with its first page again",
    "redirect": "307 to another place (location=URL)",
    **{status: f"{status} to another place (location=URL)" for status in REDIRECTS},
}
"""Kind → what it does. ``done``: the simulator handles the request before the fault."""

BEFORE = frozenset({
    "429", "500", "503", "401", "403", "timeout_before", "reset_before", "half_open", "garbage", "html200", "empty200",
    "not_utf8", "error_in_200", "huge", "gzip_bomb", "redirect", *REDIRECTS,
})  # fmt: skip
"""Kinds that keep the request from being handled."""


@dataclass(frozen=True, slots=True)
class Fault:
    kind: str

    @property
    def handled(self) -> bool:
        """The simulator does what is asked, before things go wrong."""
        return self.kind not in BEFORE


@dataclass(slots=True)
class _Rule:
    """count: how many more (None: as share says). share: probability of each."""

    kind: str
    count: int | None
    share: float = 1.0


@dataclass(slots=True)
class Faults:
    """hang_secs: how long time-outs hang. retry_after: the header of 429 and 503, as sent. hit: kinds as they struck.
    location: where redirects lead."""

    rules: list[_Rule] = field(default_factory=list)
    seed: int = 0
    path: str = ""
    method: str = ""
    only: Literal["", "reads", "writes"] = ""
    hang_secs: float = 1.0
    retry_after: str = "1"
    location: str = "http://127.0.0.1:9/elsewhere"
    hit: list[str] = field(default_factory=list)
    _chance: random.Random = field(default_factory=random.Random)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def parse(cls, text: str) -> Faults:
        """Raises ProjectError on a kind or an option that does not exist, or a number that is none."""
        head, *options = text.split(";")
        faults = cls()
        for option in filter(None, (piece.strip() for piece in options)):
            faults._option(option)
        faults.rules = [_rule(part) for part in filter(None, (piece.strip() for piece in head.split(",")))]
        faults._chance = random.Random(faults.seed)  # noqa: S311 - seeded on purpose
        return faults

    def _option(self, option: str) -> None:
        name, _, value = option.partition("=")
        try:
            if name == "seed":
                self.seed = int(value)
            elif name == "hang":
                self.hang_secs = float(value)
            elif name == "only" and value in ("reads", "writes"):
                self.only = "reads" if value == "reads" else "writes"
            elif name in ("path", "method", "retry_after", "location"):
                setattr(self, name, value)
            else:
                raise ValueError
        except ValueError:
            raise ProjectError(
                f"'{option}' is no option of faults",
                help="seed=7; path=orders; method=POST; only=writes; hang=0.5; retry_after=30; location=URL",
            ) from None

    def next(self, method: str, path: str) -> Fault | None:
        """The fault for this request, if any."""
        if not self.rules or (self.path and self.path not in path) or (self.method and self.method != method):
            return None
        if self.only and (method in ("GET", "HEAD")) != (self.only == "reads"):
            return None
        with self._lock:
            for rule in self.rules:
                if rule.count == 0 or (rule.share < 1.0 and self._chance.random() >= rule.share):
                    continue
                if rule.count is not None:
                    rule.count -= 1
                self.hit.append(rule.kind)
                return Fault(rule.kind)
        return None


def _rule(part: str) -> _Rule:
    kind, star, count = part.partition("*")
    kind, colon, share = kind.partition(":")
    if kind not in KINDS:
        raise ProjectError(f"there is no fault '{kind}'", help=f"faults: {', '.join(KINDS)}")
    try:
        if colon:
            return _Rule(kind, None, _share(share))
        return _Rule(kind, (int(count) if count else None) if star else 1)
    except ValueError:
        raise ProjectError(f"'{part}' is no fault", help="429*2 (the next two) or 503:0.1 (one in ten)") from None


def _share(text: str) -> float:
    share = float(text)
    if not 0.0 <= share <= 1.0:
        raise ValueError
    return share
