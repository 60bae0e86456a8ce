"""flowrun map: the mapping alone, JSON Lines in and out, in constant memory."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import click

from flowrun.cli.main import EXIT_FINDINGS, EXIT_OK
from flowrun.cli.mapping import is_stdout, map_lines, open_input, read_blocks, to_stderr
from flowrun.cli.outfile import whole_file
from flowrun.cli.parts import map_parts
from flowrun.cli.project import of_one_map, open_flow
from flowrun.cli.records import given_xrefs


@click.command(name="map")
@click.argument("flow")
@click.option(
    "--input",
    "input_",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True),
    required=True,
    help="Records, JSON Lines, plain or gzip; - is standard input.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where mapped records go, there whole or not at all; without it standard output.",
)
@click.option("--env", help="The environment whose values apply.")
@click.option(
    "--xref",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Cross-references: a YAML or JSON file, name: {from: to}.",
)
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes, each on a part of the file."
)
def command(flow: str, input_: Path, output: Path | None, env: str | None, xref: Path | None, workers: int) -> int:
    """Run the mapping alone: one JSON line out per mapped record; problems to standard error with the line number."""
    _check(input_, output, workers)
    _, _, checked, plan = open_flow(flow, env)
    of_one_map(checked, "map")
    snapshot = given_xrefs(checked, xref)
    to_file = output is not None and not is_stdout(output)
    with _output(output if to_file else None) as out, _progress(input_, to_file) as seen:
        if workers == 1:
            with open_input(input_) as source:
                tally = map_lines(plan, snapshot, read_blocks(source, seen=seen), out, to_stderr)
        else:
            folder = output.resolve().parent if to_file and output else Path(tempfile.gettempdir())
            tally = map_parts(plan, snapshot, input_, out, workers, folder=folder, seen=seen)
    asked = any(lookup.kind == "xref" for lookup in checked.lookups.values())
    if tally.failed and asked and xref is None:
        click.echo("note: cross-references are empty without --xref FILE", err=True)
    if tally.failed and checked.source.group_by is not None:
        click.echo('note: this flow groups rows, so a line is a whole group: {"key": …, "rows": […]}', err=True)
    return EXIT_FINDINGS if tally.failed else EXIT_OK


def _check(input_: Path, output: Path | None, workers: int) -> None:
    """Raises a usage error before anything is opened for writing."""
    if input_.is_file() and (is_stdout(input_) or (output is not None and output.exists() and output.samefile(input_))):
        raise click.UsageError(f"the output is the input, {input_}: name another file")
    if output is not None and not output.parent.is_dir():
        raise click.UsageError(f"there is no folder '{output.parent}' for the output")
    if workers == 1:
        return
    if not input_.is_file():
        raise click.UsageError("--workers needs a file: standard input and pipes are read from one end")
    with input_.open("rb") as source:
        if source.read(2) == b"\x1f\x8b":
            raise click.UsageError("--workers needs a plain file: a gzip file is read from one end")


@contextmanager
def _output(path: Path | None) -> Iterator[IO[bytes]]:
    if path is None:
        sys.stdout.flush()
        with open(os.dup(sys.stdout.fileno()), "wb") as out:  # noqa: PTH123 - a descriptor, no path
            yield out
    else:
        with whole_file(path) as out:
            yield out


@contextmanager
def _progress(path: Path, to_file: bool) -> Iterator[Callable[[int], None] | None]:
    """A bar over the bytes read, on a terminal that shows nothing else."""
    with ExitStack() as stack:
        if not (to_file and path.is_file() and sys.stderr.isatty()):
            yield None
            return
        bar = click.progressbar(length=path.stat().st_size, label="mapping", file=sys.stderr)
        yield stack.enter_context(bar).update
