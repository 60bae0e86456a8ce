"""flowrun why: the page of a diagnostic code."""

from __future__ import annotations

import click

from flowrun.codes import CODES
from flowrun.errors import ProjectError


@click.command(name="why")
@click.argument("code", required=False)
def command(code: str | None) -> None:
    """Explain a diagnostic code, such as FR104; without one, list them all."""
    if code is None:
        for name, page in CODES.items():
            click.echo(f"{name}  {page.title}")
        return
    name = code.upper()
    if name not in CODES:
        raise ProjectError(f"there is no code {code}", help="flowrun why lists them")
    page = CODES[name]
    click.echo(f"{name}: {page.title}\n\n{page.text}")
    for title, example in (("Wrong", page.wrong), ("Right", page.right)):
        if example:
            click.echo(f"\n{title}:\n" + "\n".join("    " + line for line in example.splitlines()))
