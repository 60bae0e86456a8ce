"""Values from wire to wire: exact JSON, secrets that never show, canonical text of numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NoReturn

import msgspec

Clock = Callable[[], datetime]
"""Returns an aware time in UTC. Passed in, so tests freeze it."""


def system_clock() -> datetime:
    return datetime.now(UTC)


class Secret:
    """A text that prints as *** wherever it goes; ``reveal()`` is called only where it leaves for the wire."""

    __slots__ = ("_text", "name")

    def __init__(self, text: str, name: str = "") -> None:
        self._text = text
        self.name = name

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(("Secret", self._text))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not copied into files")


_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


def decode_json(data: bytes | str) -> Any:
    """JSON with exact numbers: integers as int, every other number as Decimal, never float.

    Raises msgspec.DecodeError (a ValueError) on bad JSON, and on what is nested too deep to read.
    """
    try:
        return _decoder.decode(data)
    except RecursionError:
        raise msgspec.DecodeError("it is nested too deep") from None


def decode_given(data: bytes | str) -> Any:
    """The same of what comes from outside, where a field named twice is a mistake: none of the two values is right.

    Raises ValueError also for that.
    """
    found = decode_json(data)
    check_given(data.encode() if isinstance(data, str) else data, found)
    return found


def check_given(data: bytes, found: Any) -> None:
    """Raises ValueError when ``data``, which was read as ``found``, names a field twice.

    Written again, what was read has as many colons: of its names and in its texts. A name that got lost takes its own
    with it; only an escaped one (``\\u003a``) can stand for another. Then all is read again, slowly.
    """
    if data.count(b":") != _encoder.encode(found).count(b":") or b"\\u003" in data:
        json.loads(data, object_pairs_hook=_once_each, parse_float=str, parse_int=str)


def _once_each(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise ValueError(f"the field '{name}' is named twice")
        seen.add(name)


def encode_json(value: Any) -> bytes:
    """JSON with Decimals as plain numbers, digits kept."""
    return _encoder.encode(value)
