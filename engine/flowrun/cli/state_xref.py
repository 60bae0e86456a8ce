"""flowrun state xref: cross-references as CSV, out and in."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import click

from flowrun.cli.main import EXIT_OK
from flowrun.cli.project import project_store, who
from flowrun.errors import ProjectError

COLUMNS = ("source_id", "target_id")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_ENV = click.option("--env", help="The environment; without it the first of flowrun.yaml.")


@click.group()
def xref() -> None:
    """Which id of one system is which of another: list, export, import."""


@xref.command(name="list")
@_ENV
def list_(env: str | None) -> int:
    """List the cross-reference tables and how many rows each has.

    Example: flowrun state xref list
    """
    _, store = project_store(env)
    try:
        sizes = store.xrefs.sizes()
    finally:
        store.close()
    for name, size in sizes.items():
        click.echo(f"{name}: {size} rows")
    if not sizes:
        click.echo("there are no cross-references yet")
    return EXIT_OK


@xref.command()
@click.argument("name")
@_ENV
def export(name: str, env: str | None) -> int:
    """Print the table NAME as CSV with the columns source_id and target_id.

    A cell that a spreadsheet would take for a formula gets an apostrophe in front; import takes it off again.

    Example: flowrun state xref export customers > customers.csv
    """
    _, store = project_store(env)
    try:
        rows = store.xrefs.all(name)
        sizes = store.xrefs.sizes()
    finally:
        store.close()
    if not rows:
        raise ProjectError(f"there is no cross-reference '{name}'", help=f"there are: {', '.join(sizes) or 'none'}")
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(COLUMNS)
    for row in rows:
        out.writerow([_guarded(row["source_id"]), _guarded(row["target_id"])])
    return EXIT_OK


@xref.command(name="import")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--replace", is_flag=True, help="Let rows that stand for another id now lead to the new one.")
@click.option("--dry-run", is_flag=True, help="Say what would change; change nothing.")
@_ENV
def import_(name: str, file: Path, replace: bool, dry_run: bool, env: str | None) -> int:
    """Take the rows of FILE into the table NAME: all of them or, when a line is wrong, none.

    Example: flowrun state xref import customers customers.csv --dry-run
    """
    rows = _read(file)
    _, store = project_store(env)
    try:
        there = store.xrefs.look_up(name, rows)
        changed = {key: line for key, (line, target) in rows.items() if there.get(key, target) != target}
        new = sum(key not in there for key in rows)
        if changed and not replace:
            key, line = next(iter(changed.items()))
            raise ProjectError(
                f"{file}:{line}: '{key}' stands for '{there[key]}' now, not for '{rows[key][1]}'"
                + (f"; {len(changed) - 1} more like it" if len(changed) > 1 else ""),
                help="correct the file, or say --replace; nothing was imported",
            )
        if not dry_run:
            store.xrefs.put([(name, key, target) for key, (_, target) in rows.items()], who())
    finally:
        store.close()
    said = f"{new} new, {len(changed)} changed, {len(rows) - new - len(changed)} unchanged"
    click.echo(f"{name}: {said}" + ("; nothing was changed (--dry-run)" if dry_run else ""))
    return EXIT_OK


def _guarded(text: str) -> str:
    return f"'{text}" if text.startswith((*_FORMULA, "'")) else text


def _bare(text: str) -> str:
    return text[1:] if text.startswith("'") and text[1:].startswith((*_FORMULA, "'")) else text


def _read(file: Path) -> dict[str, tuple[int, str]]:
    """source id → (line, target id). Raises ProjectError with file and line."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ProjectError(f"{file} is not UTF-8: {error.reason}", help="save it as UTF-8") from None
    lines = csv.reader(text.splitlines(keepends=True))
    head = next(lines, None)
    if head is None or [cell.strip() for cell in head] != list(COLUMNS):
        raise ProjectError(f"{file}:1: the first line must be {','.join(COLUMNS)}", help="nothing was imported")
    found: dict[str, tuple[int, str]] = {}
    for row in lines:
        if not row:
            continue
        if len(row) != len(COLUMNS) or not all(cell.strip() for cell in row) or "\0" in "".join(row):
            raise ProjectError(
                f"{file}:{lines.line_num}: a line is a source id and a target id, both said",
                help="nothing was imported",
            )
        source, target = map(_bare, row)
        if found.setdefault(source, (lines.line_num, target))[1] != target:
            raise ProjectError(
                f"{file}:{lines.line_num}: '{source}' stands for '{found[source][1]}' in line {found[source][0]}",
                help="keep one of them; nothing was imported",
            )
    return found
