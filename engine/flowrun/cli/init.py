"""flowrun init: a project from the shipped flows."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from flowrun.cli.main import EXIT_OK
from flowrun.cli.schema import write_schemas
from flowrun.project import load_project
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
    written += write_schemas(directory, load_project(directory).converters)
    for name in written:
        click.echo(f"wrote {name}")
    there = "" if directory.resolve() == Path.cwd() else f"cd {shlex.quote(str(directory))} && "
    click.echo(f"next: {there}flowrun validate && flowrun test")
    return EXIT_OK
