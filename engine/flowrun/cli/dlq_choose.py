"""What the commands of dead letters share: their options, and how they say what they found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from flowrun.values import encode_json

ENV = click.option("--env", help="The environment; without it the first of flowrun.yaml.")
CAUSE = click.option("--cause", metavar="ID", help="Every letter of one cause; flowrun dlq list shows the ids.")

Command = Callable[..., Any]


def pretty(value: Any) -> str:
    import msgspec

    return msgspec.json.format(encode_json(value), indent=2).decode()


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
