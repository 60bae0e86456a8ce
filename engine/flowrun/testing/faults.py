"""Faults on request, seeded: ``429*2,503:0.1,reset_after:0.05;seed=7;path=A_SalesOrder;method=POST``.

``KIND*N``: the next N requests. ``KIND:P``: with probability P. Options after ``;``.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from typing import Any

from flowrun.errors import ProjectError

KINDS = (
    "429", "503", "500", "401", "timeout_before", "timeout_after", "reset_before", "reset_after", "half_open",
    "garbage", "html200", "empty200", "truncated", "slow_drip", "redirect",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault:
    """before: an answer given instead of handling the request (None: the request is handled, or the socket fails)."""

    kind: str
    before: Any = None


@dataclass(slots=True)
class _Rule:
    kind: str
    count: int | None = None
    share: float | None = None


@dataclass(slots=True)
class Faults:
    """hang_secs: how long time-outs hang. retry_after: the header of 429 and 503."""

    rules: list[_Rule] = field(default_factory=list)
    seed: int = 0
    path: str = ""
    method: str = ""
    hang_secs: float = 1.0
    retry_after: str = "1"
    _chance: random.Random = field(default_factory=random.Random)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def parse(cls, text: str) -> Faults:
        """Raises ProjectError on a kind that does not exist or a number that is none."""
        faults = cls()
        head, *options = text.split(";")
        for option in options:
            name, _, value = option.strip().partition("=")
            if name == "seed":
                faults.seed = int(value)
            elif name in ("path", "method", "retry_after"):
                setattr(faults, name, value)
            elif name == "hang":
                faults.hang_secs = float(value)
            else:
                raise ProjectError(
                    f"'{option}' is no option of faults", help="seed=, path=, method=, hang=, retry_after="
                )
        for part in filter(None, (piece.strip() for piece in head.split(","))):
            kind, star, count = part.partition("*")
            kind, colon, share = kind.partition(":")
            if kind not in KINDS:
                raise ProjectError(f"there is no fault '{kind}'", help=f"faults: {', '.join(KINDS)}")
            try:
                faults.rules.append(
                    _Rule(kind, int(count) if star else None if colon else 1, float(share) if colon else None)
                )
            except ValueError:
                raise ProjectError(
                    f"'{part}' is no fault", help="429*2 (the next two) or 503:0.1 (one in ten)"
                ) from None
        faults._chance = random.Random(faults.seed)  # noqa: S311 - seeded on purpose
        return faults

    def next(self, method: str, path: str) -> Fault | None:
        """The fault for this request, if any."""
        if not self.rules or (self.path and self.path not in path) or (self.method and self.method != method):
            return None
        with self._lock:
            for rule in self.rules:
                if rule.count is not None:
                    if rule.count <= 0:
                        continue
                    rule.count -= 1
                    return Fault(rule.kind, self._answer(rule.kind))
                if rule.share is not None and self._chance.random() < rule.share:
                    return Fault(rule.kind, self._answer(rule.kind))
        return None

    def _answer(self, kind: str) -> Any:
        from flowrun.testing.simulator import SimResponse

        html = {"content-type": "text/html"}
        answers = {
            "429": SimResponse(429, b"", {"retry-after": self.retry_after}),
            "503": SimResponse(503, b"<html>maintenance</html>", {"retry-after": self.retry_after, **html}),
            "500": SimResponse(500, b"<html>error</html>", html),
            "401": SimResponse(401, b"<html>who?</html>", html),
            "garbage": SimResponse(200, b'{"d":{"results":[{"a"', {"content-type": "application/json"}),
            "html200": SimResponse(200, b"<html>welcome</html>", html),
            "empty200": SimResponse(200, b"", {"content-type": "application/json"}),
            "redirect": SimResponse(307, b"", {"location": "http://127.0.0.1:9/elsewhere"}),
        }
        return answers.get(kind)
