"""flowrun init: a project from the shipped flows."""

from __future__ import annotations

from pathlib import Path

import click

from flowrun.cli.main import EXIT_OK
from flowrun.templates import copy_templates


@click.command(name="init")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), default=".")
def command(directory: Path) -> int:
    """Start a project in DIRECTORY: flowrun.yaml, flows, lookups, the editors' schema. Nothing is overwritten."""
    directory.mkdir(parents=True, exist_ok=True)
    written = copy_templates(directory)
    ignore = directory / ".gitignore"
    if not ignore.exists():
        ignore.write_text(".flowrun/\n", encoding="utf-8")
        written.append(".gitignore")
    for name in written:
        click.echo(f"wrote {name}")
    if not written:
        click.echo("nothing to write: everything is there")
    click.echo(f"next: cd {directory} && flowrun schema --write && flowrun validate && flowrun test")
    return EXIT_OK
