"""What a system gave: an access token (or a session's cookies), how long it is good, and what renews it.

Times are spans, never moments: seconds from when the token was given or read. So two clocks that differ, or one that
jumps, do not make a token older than it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flowrun.values import Secret, decode_json, encode_json

UNSTATED_LIFE = 300.0  # seconds, for a token that does not say how long it lives


@dataclass(frozen=True, slots=True)
class Token:
    """left: seconds it is still good. life: seconds it was good when it was given.

    refresh_left, refresh_life: the same of the refresh token; None when the system does not say.
    issued_for: a print of what it was asked for (token_url, client, scope); a token of another client is none.
    """

    access: Secret
    left: float
    life: float
    refresh: Secret | None = None
    refresh_left: float | None = None
    refresh_life: float | None = None
    issued_for: str = ""

    def to_bytes(self) -> bytes:
        """All of it but what is left, which only a clock can say. Holds secrets: to be sealed."""
        return encode_json(
            {
                "access": self.access.reveal(),
                "refresh": self.refresh.reveal() if self.refresh else None,
                "life": repr(self.life),
                "refresh_life": None if self.refresh_life is None else repr(self.refresh_life),
                "issued_for": self.issued_for,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, left: float, refresh_left: float | None) -> Token:
        read: dict[str, Any] = decode_json(data)
        refresh, refresh_life = read["refresh"], read["refresh_life"]
        return cls(
            access=Secret(read["access"], "access_token"),
            left=left,
            life=float(read["life"]),
            refresh=Secret(refresh, "refresh_token") if refresh else None,
            refresh_left=refresh_left,
            refresh_life=float(refresh_life) if refresh_life is not None else None,
            issued_for=read["issued_for"],
        )
