"""flowrun validate: every mistake of every file, in one run, without a network."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flowrun.cli.cached import Cache, Findings, texts
from flowrun.cli.lazily import lazily
from flowrun.cli.main import EXIT_FINDINGS, EXIT_OK
from flowrun.cli.output import FORMATS, print_diagnostics, render
from flowrun.diagnostics import Diagnostic, Fix
from flowrun.errors import ProjectError
from flowrun.project import FILE, find_root, load_project

if TYPE_CHECKING:
    from flowrun.flow.model import Flow, Target

MOST_FIXES = 10_000  # places; a fix that does not mend would go round for ever

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
@click.option("--no-cache", is_flag=True, help="Check again even where nothing changed.")
def command(paths: tuple[Path, ...], form: str, fix: bool, strict: bool, no_cache: bool) -> int:
    """Find every mistake in flow files; touches no network.

    PATHS are flow files or folders; without any, all flows of the project.
    """
    root = _root(paths)
    paths = () if all(path.resolve() == root for path in paths) else paths
    findings = _findings(root, paths, no_cache)
    mended = 0
    while fix and (more := _mend(root, findings.diagnostics)) and mended < MOST_FIXES:
        mended += more  # a mended place can lay open another
        findings = _findings(root, paths, no_cache)
    if mended:
        click.echo(f"mended {mended} place{'s' * (mended != 1)}", err=True)
    if form == "text":
        _print(root, findings)
    else:
        click.echo(render(form, findings.diagnostics, findings.files))
    failed = findings.errors or (strict and findings.diagnostics)
    return EXIT_FINDINGS if failed else EXIT_OK


def _root(paths: Iterable[Path]) -> Path:
    for path in paths:
        if not path.exists():
            raise ProjectError(f"there is no file or folder '{path}'")
    start = next(iter(paths), Path.cwd())
    root = find_root(start if start.is_dir() else start.parent)
    if root is None:
        raise ProjectError(f"no {FILE} in {start} or above it", help="start a project with: flowrun init")
    return root


def _findings(root: Path, paths: tuple[Path, ...], no_cache: bool) -> Findings:
    cache = Cache(root, paths)
    kept = cache.load() if not no_cache else None
    if kept is not None:
        return kept
    lazily("httpx")
    gc.disable()  # importing makes much and leaves no garbage
    try:
        from flowrun.connector import discover
        from flowrun.flow import check_project  # a third of the start-up, which an unchanged project does without
    finally:
        gc.enable()
    checked = check_project(load_project(root), discover(), paths)
    said = []
    for flow in checked.flows:
        for name, target in written(flow):
            once = ONCE[target.once].format(find=" and ".join(target.find_existing) or "its key")
            said.append(f"{flow.file}: {flow.name}{name}: delivered {once}")
    findings = Findings(checked.files, len(checked.fragments), checked.diagnostics, tuple(said), checked.tables)
    cache.save(findings)
    return findings


def written(flow: Flow) -> Iterator[tuple[str, Target]]:
    """(" step ID", target) of each step that writes; ("", target) of a flow without steps."""
    from flowrun.flow.model import Write, every_step

    if not flow.steps:
        yield "", flow.target
    for step in every_step(flow.steps):
        if isinstance(step.does, Write):
            yield f" step {step.id}", step.does.target


def _print(root: Path, findings: Findings) -> None:
    print_diagnostics(findings.diagnostics, texts(root, findings.diagnostics))
    for line in findings.said:
        click.echo(line)
    counts = [(len(findings.files) - findings.fragments, "flow"), (findings.fragments, "fragment")]
    counts = [*counts[: 2 if findings.fragments else 1], (findings.errors, "error")]
    counts.append((len(findings.diagnostics) - findings.errors, "lint"))
    click.echo(", ".join(f"{count} {word}{'s' * (count != 1)}" for count, word in counts))


def _mend(root: Path, diagnostics: Iterable[Diagnostic]) -> int:
    """Splice the certain fixes into the files, last first, so that offsets stay right; overlapping ones wait."""
    by_file: dict[str, list[Fix]] = {}
    for diagnostic in diagnostics:
        if diagnostic.fix is not None:
            by_file.setdefault(diagnostic.span.file, []).append(diagnostic.fix)
    count = 0
    for file, fixes in by_file.items():
        path = root / file
        with path.open(encoding="utf-8", newline="") as read:
            text = read.read()
        shift = 1 if text.startswith("\ufeff") else 0  # offsets count without the byte order mark
        end = len(text) + 1
        for one in sorted(set(fixes), key=lambda f: (f.start, f.end), reverse=True):
            if one.end + shift <= end:
                text = text[: one.start + shift] + one.text + text[one.end + shift :]
                end = one.start + shift
                count += 1
        with path.open("w", encoding="utf-8", newline="") as out:
            out.write(text)
    return count
