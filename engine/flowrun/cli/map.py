"""flowrun map: the mapping alone, JSON Lines in and out, in constant memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import click
import msgspec

from flowrun.cli.main import EXIT_FINDINGS, EXIT_OK
from flowrun.cli.project import open_flow
from flowrun.cli.records import xref_snapshot
from flowrun.plan import Mapped, Skipped
from flowrun.testing.flow_tests import describe
from flowrun.values import decode_json

_CHUNK = 1 << 20  # bytes read at once


@click.command(name="map")
@click.argument("flow")
@click.option(
    "--input", "input_", type=click.Path(path_type=Path, exists=True), required=True, help="Records, JSON Lines."
)
@click.option("--output", type=click.Path(path_type=Path), help="Where mapped records go; without it standard output.")
@click.option("--env", help="The environment whose values apply.")
@click.option(
    "--xref",
    type=click.Path(path_type=Path, exists=True),
    help="Cross-references: a YAML or JSON file, name: {from: to}.",
)
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes, each on a part of the file."
)
def command(flow: str, input_: Path, output: Path | None, env: str | None, xref: Path | None, workers: int) -> int:
    """Run the mapping alone: one JSON line out per mapped record; problems to standard error with the line number."""
    if workers == 1:
        if output is None:
            problems = _map_range(flow, env, xref, input_, 0, None, sys.stdout.buffer)
        else:
            with output.open("wb") as out:
                problems = _map_range(flow, env, xref, input_, 0, None, out)
        for line in problems:
            click.echo(line, err=True)
        return EXIT_FINDINGS if problems.failed else EXIT_OK
    return _in_parts(flow, env, xref, input_, output, workers)


class Problems(list[str]):
    """Lines for standard error; failed counts records that are bad (skipped ones are no failure)."""

    failed = 0
    lines = 0


def _map_range(
    flow: str, env: str | None, xref: Path | None, path: Path, start: int, end: int | None, out: IO[bytes]
) -> Problems:
    """Map the lines that begin in bytes [start, end) of the file. Line numbers count from the range's first line."""
    project, _, checked, plan = open_flow(flow, env)
    snapshot = xref_snapshot(project, checked, env, xref)
    encode = msgspec.json.Encoder(decimal_format="number").encode
    problems = Problems()
    pending: list[bytes] = []
    with path.open("rb") as source, plan.applying(snapshot) as apply:
        for number, line in enumerate(_lines(source, start, end), 1):
            problems.lines = number
            try:
                record: Any = decode_json(line)
            except ValueError as error:
                if line.strip():
                    problems.failed += 1
                    problems.append(f"line {number}: not JSON: {error}")
                continue
            if type(record) is not dict:
                problems.failed += 1
                problems.append(f"line {number}: a record is an object {{…}}")
                continue
            outcome = apply(record)
            if type(outcome) is Mapped:
                pending.append(encode(outcome.body))
                for warning in outcome.warnings:
                    problems.append(f"line {number}: warning: {warning}")
                if len(pending) >= 512:
                    out.write(b"\n".join(pending) + b"\n")
                    pending.clear()
            else:
                problems.append(f"line {number}: {describe(outcome)}")
                problems.failed += not isinstance(outcome, Skipped)
            if len(problems) > 1000 and out is not sys.stdout.buffer:
                _flush(problems)
    if pending:
        out.write(b"\n".join(pending) + b"\n")
    out.flush()
    return problems


def _flush(problems: Problems) -> None:
    """A million bad lines must not pile up in memory."""
    sys.stderr.write("\n".join(problems) + "\n")
    problems.clear()


def _lines(source: IO[bytes], start: int, end: int | None) -> Iterator[bytes]:
    if start:
        source.seek(start - 1)
        source.readline()  # the line that began before belongs to the part before
    at = source.tell()
    while end is None or at < end:
        lines = source.readlines(_CHUNK)
        if not lines:
            return
        for line in lines:
            if end is not None and at >= end:
                return
            at += len(line)
            yield line


def _in_parts(flow: str, env: str | None, xref: Path | None, path: Path, output: Path | None, workers: int) -> int:
    size = path.stat().st_size
    edges = [size * i // workers for i in range(workers + 1)]
    failed = 0
    with TemporaryDirectory() as folder, ProcessPoolExecutor(workers) as pool:
        parts = [Path(folder) / str(i) for i in range(workers)]
        jobs = [
            pool.submit(_part, flow, env, xref, path, edges[i], edges[i + 1] if i + 1 < workers else None, parts[i])
            for i in range(workers)
        ]
        with output.open("wb") if output else os.fdopen(os.dup(sys.stdout.fileno()), "wb") as out:
            before = 0
            for job, part in zip(jobs, parts, strict=True):
                problems, part_failed, lines = job.result()
                failed += part_failed
                for text in problems:
                    word, number, rest = text.split(" ", 2)
                    click.echo(f"{word} {int(number.rstrip(':')) + before}: {rest}", err=True)
                before += lines
                with part.open("rb") as done:
                    while chunk := done.read(_CHUNK):
                        out.write(chunk)
    return EXIT_FINDINGS if failed else EXIT_OK


def _part(
    flow: str, env: str | None, xref: Path | None, path: Path, start: int, end: int | None, to: Path
) -> tuple[list[str], int, int]:
    with to.open("wb") as out:
        problems = _map_range(flow, env, xref, path, start, end, out)
    return list(problems), problems.failed, problems.lines
