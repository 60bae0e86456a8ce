"""flowrun validate: every mistake of every file, in one run, without a network."""

from __future__ import annotations

from pathlib import Path

import click

from flowrun.cli.main import EXIT_FINDINGS, EXIT_OK
from flowrun.cli.output import FORMATS, print_diagnostics, render
from flowrun.connector import discover
from flowrun.diagnostics import Fix
from flowrun.flow import Checked, check_project
from flowrun.project import load_project

ONCE = {
    "idempotency_key": "exactly once: the target holds the idempotency key",
    "upsert": "exactly once in effect: a repeated write leaves the same object",
    "find": "exactly once: after a lost answer the target is asked by {find}",
    "none": "at least once: after a lost answer the target cannot be asked",
}


@click.command(name="validate")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True, help="How to print.")
@click.option("--fix", is_flag=True, help="Mend what is certain, in place; comments stay.")
@click.option("--strict", is_flag=True, help="Lints and warnings fail too.")
def command(paths: tuple[Path, ...], form: str, fix: bool, strict: bool) -> int:
    """Find every mistake in flow files; touches no network.

    PATHS are flow files or folders; without any, all flows of the project.
    """
    project = load_project(paths[0] if paths and paths[0].exists() else Path.cwd())
    registry = discover()
    checked = check_project(project, registry, paths)
    if fix:
        mended = _mend(project.root, checked)
        if mended:
            click.echo(f"mended {mended} place{'s' * (mended != 1)}", err=True)
            project = load_project(project.root)
            checked = check_project(project, registry, paths)
    if form == "text":
        _print(checked)
    else:
        click.echo(render(form, checked.diagnostics, checked.files))
    failed = checked.errors or (strict and checked.diagnostics)
    return EXIT_FINDINGS if failed else EXIT_OK


def _print(checked: Checked) -> None:
    print_diagnostics(checked.diagnostics, checked.documents)
    for flow in checked.flows:
        once = ONCE[flow.target.once].format(find=" and ".join(flow.target.find_existing) or "its key")
        click.echo(f"{flow.file}: {flow.name}: delivered {once}")
    lints = len(checked.diagnostics) - checked.errors
    click.echo(
        f"{len(checked.files)} file{'s' * (len(checked.files) != 1)}, "
        f"{checked.errors} error{'s' * (checked.errors != 1)}, {lints} lint{'s' * (lints != 1)}"
    )


def _mend(root: Path, checked: Checked) -> int:
    """Splice the certain fixes into the files, last first, so that offsets stay right; overlapping ones wait."""
    by_file: dict[str, list[Fix]] = {}
    for diagnostic in checked.diagnostics:
        if diagnostic.fix is not None:
            by_file.setdefault(diagnostic.span.file, []).append(diagnostic.fix)
    count = 0
    for file, fixes in by_file.items():
        path = root / file
        text = path.read_text(encoding="utf-8")
        shift = 1 if text.startswith("\ufeff") else 0  # offsets count without the byte order mark
        end = len(text) + 1
        for one in sorted(set(fixes), key=lambda f: f.start, reverse=True):
            if one.end + shift <= end:
                text = text[: one.start + shift] + one.text + text[one.end + shift :]
                end = one.start + shift
                count += 1
        with path.open("w", encoding="utf-8", newline="") as out:
            out.write(text)
    return count
