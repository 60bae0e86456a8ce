"""What is known of a step of one record: durable, and all that a resumed workflow goes by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Mark(msgspec.Struct, frozen=True):
    """path: the step's id, under those of the steps around it. state: done, skipped (its ``when`` did not hold), failed
    (for good) or waiting (until ``due``, by the store's clock). answer: what ``steps.ID`` is from here on. sent: what a
    step wrote."""

    path: str
    kind: str
    state: str
    answer: Mapping[str, Any] = {}
    sent: Mapping[str, Any] | None = None
    due: float | None = None
