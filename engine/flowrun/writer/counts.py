"""What a run came to."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Counts:
    """Outcomes of a run. sends: records handed to the target; asked: look-ups of doubtful ones; lost: records that
    another worker took over; paused, held: why the connection is not called any more (a credential; an outage, a
    budget that is spent). rest_secs: in the latter case, seconds until it is its turn again."""

    confirmed: int = 0
    unchanged: int = 0
    skipped: int = 0
    dead: int = 0
    retried: int = 0
    sends: int = 0
    asked: int = 0
    lost: int = 0
    warnings: int = 0
    paused: str = ""
    held: str = ""
    rest_secs: float = 0.0
    skips: dict[str, int] = field(default_factory=dict)
    outside: str = ""  # the last failure of the outside world

    @property
    def stopped(self) -> bool:
        return bool(self.paused or self.held)

    def count(self, name: str) -> None:
        setattr(self, name, getattr(self, name) + 1)

    def add(self, other: Counts) -> None:
        """Take in what another worker of the same run did."""
        for name in ("confirmed", "unchanged", "skipped", "dead", "retried", "sends", "asked", "lost", "warnings"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for reason, count in other.skips.items():
            self.skips[reason] = self.skips.get(reason, 0) + count
        self.paused = self.paused or other.paused
        self.held = self.held or other.held
        self.outside = other.outside or self.outside
