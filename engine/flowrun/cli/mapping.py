"""The loop of ``flowrun map``: blocks of lines in, mapped lines and problems out, in flat memory."""

from __future__ import annotations

import gc
import gzip
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import msgspec

from flowrun.cli.records import NOT_JSON
from flowrun.errors import ProjectError
from flowrun.lookups import Snapshot
from flowrun.masking import mask_of
from flowrun.plan import Mapped, Plan, Skipped
from flowrun.testing.flow_tests import describe
from flowrun.values import check_given

CHUNK = 1 << 18  # bytes read at once: some hundred records, whose bodies are written in one call
LONGEST = 1 << 24  # bytes of one line
GARBAGE = 50_000  # objects; a block makes fewer, so collecting begins only where cycles are left behind
TOO_LONG = b"\0 too long"

Say = Callable[[list[tuple[int, str]]], None]
"""Takes problems: (line number, words), in order of lines."""


@dataclass(slots=True)
class Tally:
    """failed: records that are bad; what a flow skips is no failure."""

    lines: int = 0
    failed: int = 0


def map_lines(plan: Plan, snapshot: Snapshot, blocks: Iterable[list[bytes]], out: IO[bytes], say: Say) -> Tally:
    """Map every line; bodies and problems leave after each block. Line numbers count from 1."""
    tally, mask = Tally(), mask_of(plan.flow)
    decode = msgspec.json.Decoder(float_hook=Decimal).decode
    thresholds = gc.get_threshold()
    gc.set_threshold(GARBAGE, *thresholds[1:])
    stack = ExitStack()
    apply = stack.enter_context(plan.applying(snapshot))
    try:
        for block in blocks:
            bodies: list[Any] = []
            numbers: list[int] = []  # of the lines they come from
            problems: list[tuple[int, str]] = []
            for number, line in enumerate(block, tally.lines + 1):
                try:
                    record: Any = decode(line)
                    check_given(line, record)
                except NOT_JSON as error:
                    if line.strip():
                        problems.append((number, _unreadable(line, error)))
                        tally.failed += 1
                    continue
                if type(record) is not dict:
                    problems.append((number, "a record is an object {…}"))
                    tally.failed += 1
                    continue
                outcome = apply(record)
                if type(outcome) is Mapped:
                    bodies.append(outcome.body)
                    numbers.append(number)
                    if outcome.warnings:
                        problems += [
                            (number, f"warning: {mask.text(words, record, outcome.body)}") for words in outcome.warnings
                        ]
                else:
                    said = mask.text(describe(outcome), record, field=getattr(outcome, "field", ""))
                    problems.append((number, said))
                    tally.failed += not isinstance(outcome, Skipped)
            written, refused = _as_lines(bodies)
            if refused:
                problems = sorted([*problems, *((numbers[place], words) for place, words in refused)], key=_by_line)
                tally.failed += len(refused)
            tally.lines += len(block)
            if written:
                out.write(written)
                out.flush()  # whoever reads the other end of a pipe waits for no more than a block
            if problems:
                say(problems)
    finally:
        stack.close()
        gc.set_threshold(*thresholds)
    return tally


def _as_lines(bodies: list[Any]) -> tuple[bytes, list[tuple[int, str]]]:
    """The bodies as lines of JSON, and those that cannot be written: their places, and why."""
    encoder = msgspec.json.Encoder(decimal_format="number")
    try:
        return encoder.encode_lines(bodies), []
    except ValueError:
        pass
    written, refused = bytearray(), []
    for place, body in enumerate(bodies):
        try:
            written += encoder.encode(body) + b"\n"
        except ValueError as error:
            refused.append((place, f"bad_data: cannot be written as JSON: {error}"))
    return bytes(written), refused


def _by_line(problem: tuple[int, str]) -> int:
    return problem[0]


def _unreadable(line: bytes, error: Exception) -> str:
    if line is TOO_LONG:
        return f"longer than {LONGEST >> 20} MiB"
    if isinstance(error, RecursionError):
        return "not JSON: nested too deeply"
    if isinstance(error, ArithmeticError):
        return "not JSON: a number is too large"
    return f"not JSON: {error}"


# -- reading -----------------------------------------------------------------------------------------------------


def open_input(path: Path) -> IO[bytes]:
    """The records file; ``-`` is standard input, a gzip file is unpacked. Raises ProjectError."""
    if str(path) == "-":
        return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
    source = path.open("rb", buffering=0)
    if not source.seekable():
        return source
    head = source.read(2)
    source.seek(0)
    if head in (b"\xff\xfe", b"\xfe\xff"):
        raise ProjectError(f"{path} is UTF-16 text", help="save it as UTF-8")
    return gzip.open(source, "rb") if head == b"\x1f\x8b" else source  # type: ignore[return-value]


def read_blocks(
    source: IO[bytes], size: int | None = None, seen: Callable[[int], None] | None = None
) -> Iterator[list[bytes]]:
    """The next ``size`` bytes (all without it) as lists of lines without their ends.

    A byte order mark at the start of the file is no part of the first line. seen: told how many bytes were read.
    Raises ProjectError when a gzip file is damaged.
    """
    begun: list[bytes] = []  # pieces of a line whose end is not read yet
    held = 0
    first = size is None or source.tell() == 0
    while size is None or size > 0:
        try:
            data = source.read(CHUNK if size is None else min(CHUNK, size))
        except (gzip.BadGzipFile, EOFError, gzip.zlib.error) as error:  # type: ignore[attr-defined]
            raise ProjectError(f"the gzip file is damaged: {error}") from None
        if not data:
            break
        if seen is not None:
            seen(len(data))
        if size is not None:
            size -= len(data)
        if first:
            data, first = data.removeprefix(b"\xef\xbb\xbf"), False
        lines = data.split(b"\n")
        if begun or len(lines) == 1:
            held += len(lines[0])
            if held <= LONGEST:
                begun.append(lines[0])
            else:
                begun = [TOO_LONG]
            if len(lines) == 1:
                continue
            lines[0] = begun[0] if len(begun) == 1 else b"".join(begun)
        last = lines.pop()
        begun, held = ([last], len(last)) if last else ([], 0)
        yield lines
    if begun:
        yield [begun[0] if len(begun) == 1 else b"".join(begun)]


def edges_of_parts(path: Path, parts: int) -> list[int]:
    """Offsets that cut a file into at most so many parts of like size, each beginning at a line."""
    size = path.stat().st_size
    edges = [0]
    with path.open("rb") as source:
        for part in range(1, parts):
            source.seek(max(size * part // parts, edges[-1]))
            while piece := source.readline(CHUNK):
                if piece.endswith(b"\n"):
                    break
            if edges[-1] < source.tell() < size:
                edges.append(source.tell())
    return [*edges, size]


# -- writing -----------------------------------------------------------------------------------------------------


def clean(words: str) -> str:
    """One line, whatever a record says: a line end or a terminal's control character in it stays visible."""
    return words if words.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in words)


def to_stderr(problems: list[tuple[int, str]], before: int = 0) -> None:
    """before: how many lines stand before the part that the numbers count from."""
    start = "\r\x1b[K" if sys.stderr.isatty() else ""  # over a progress bar
    text = "".join(f"{start}line {number + before}: {clean(words)}\n" for number, words in problems)
    sys.stderr.write(text)
    sys.stderr.flush()


def is_stdout(path: Path) -> bool:
    """Whether a path names the file that standard output goes to (``/dev/stdout``)."""
    try:
        return os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):  # not there yet; standard output that is no file
        return False
