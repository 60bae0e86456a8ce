"""Explanations as lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click

from flowrun.plan.explain import Why
from flowrun.testing.comparison import shown


def lines(fields: Iterable[Why]) -> Iterator[str]:
    """``FIELD = value   (file:line)``, then one line per step."""
    for why in fields:
        if why.failed:
            head = f"{click.style(why.path, bold=True)} failed: {click.style(why.failed, fg='red')}"
        elif why.absent:
            head = f"{click.style(why.path, bold=True)} is absent"
        else:
            result = why.result.isoformat() if hasattr(why.result, "isoformat") else shown(why.result)
            head = f"{click.style(why.path, bold=True)} = {result}"
        yield f"{head}   {click.style(f'({why.span.file}:{why.span.line})', dim=True)}"
        for step in why.steps:
            yield f"  └ {step}"
