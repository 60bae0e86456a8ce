"""Words on a screen: diagnostics with carets."""

from __future__ import annotations

from collections.abc import Iterable

import click

from flowrun.diagnostics import Diagnostic


def print_diagnostics(diagnostics: Iterable[Diagnostic], *, err: bool = False) -> None:
    for d in diagnostics:
        click.echo(f"{d.span}: {d.severity}[{d.code}]: {d.message}", err=err)
