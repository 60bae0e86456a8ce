"""``flowrun map --workers N``: the parts of a file, each in a process of its own, put together in order.

The flow is compiled before the processes part ways. The first part is mapped by the parent straight into the output;
the others write into files without a name, which vanish with the processes that hold them.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import IO

from flowrun.cli.mapping import Tally, clean, edges_of_parts, map_lines, read_blocks, to_stderr
from flowrun.errors import StoreError
from flowrun.lookups import Snapshot
from flowrun.plan import Plan

_COPIED_AT_ONCE = 1 << 30  # bytes, by the kernel
_TOLD_AT_ONCE = 1000  # problems


@dataclass(frozen=True, slots=True)
class _Part:
    """pid: its process. bodies, problems: what it writes. tally: the end of a pipe on which it says how it ended."""

    pid: int
    bodies: IO[bytes]
    problems: IO[bytes]
    tally: int


def map_parts(
    plan: Plan,
    snapshot: Snapshot,
    path: Path,
    out: IO[bytes],
    workers: int,
    *,
    folder: Path,
    seen: Callable[[int], None] | None = None,
) -> Tally:
    """Map a file with so many processes. folder: where what waits for its turn is kept. Raises StoreError when a
    process ends before its time."""
    edges = edges_of_parts(path, workers)
    sys.stdout.flush()
    sys.stderr.flush()
    gc.freeze()  # what is there already is looked at by no collection, so its pages stay shared
    waiting: list[_Part] = []
    try:
        for start, end in pairwise(edges[1:]):
            waiting.append(_begun(plan, snapshot, path, start, end, folder))
        with path.open("rb", buffering=0) as source:
            whole = map_lines(plan, snapshot, read_blocks(source, edges[1], seen), out, to_stderr)
        while waiting:
            tally = _ended(waiting[0])
            part = waiting.pop(0)
            _tell(part.problems, whole.lines)
            _copy(part.bodies, out)
            whole.lines += tally.lines
            whole.failed += tally.failed
        out.flush()
    finally:
        gc.unfreeze()
        for part in waiting:
            with suppress(ProcessLookupError):
                os.kill(part.pid, signal.SIGKILL)
            os.waitpid(part.pid, 0)
    return whole


def _begun(plan: Plan, snapshot: Snapshot, path: Path, start: int, end: int, folder: Path) -> _Part:
    bodies, problems = (TemporaryFile(dir=folder) for _ in range(2))  # noqa: SIM115 - closed with the part
    read, write = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        os.close(write)
        return _Part(pid, bodies, problems, read)
    code = 1
    try:
        with path.open("rb", buffering=0) as source:
            source.seek(start)
            blocks = _while_there(parent, read_blocks(source, end - start))
            tally = map_lines(plan, snapshot, blocks, bodies, lambda found: _keep(found, problems))
        problems.flush()
        os.write(write, f"{tally.lines} {tally.failed}".encode())
        code = 0
    except KeyboardInterrupt:
        pass  # the parent was interrupted too, and says so
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _while_there(parent: int, blocks: Iterator[list[bytes]]) -> Iterator[list[bytes]]:
    for block in blocks:
        if os.getppid() != parent:
            os._exit(1)  # nobody waits for the rest
        yield block


def _keep(found: list[tuple[int, str]], problems: IO[bytes]) -> None:
    for number, words in found:
        problems.write(f"{number} {clean(words)}\n".encode(errors="backslashreplace"))


def _tell(problems: IO[bytes], before: int) -> None:
    problems.seek(0)
    found: list[tuple[int, str]] = []
    for line in problems:
        number, _, words = line.decode().rstrip("\n").partition(" ")
        found.append((int(number), words))
        if len(found) == _TOLD_AT_ONCE:
            to_stderr(found, before)
            found.clear()
    to_stderr(found, before)


def _ended(part: _Part) -> Tally:
    """Wait for a part. Raises StoreError when its process did not end well."""
    with open(part.tally, "rb") as pipe:  # noqa: PTH123 - a descriptor, no path
        said = pipe.read()
    if not said:
        raise StoreError("a worker ended before its time; nothing is lost", help="run again, or with fewer --workers")
    os.waitpid(part.pid, 0)
    lines, failed = said.split()
    return Tally(int(lines), int(failed))


def _copy(bodies: IO[bytes], out: IO[bytes]) -> None:
    """By the kernel where it can; eight times as fast as through this process's memory."""
    out.flush()
    at, size = 0, bodies.seek(0, os.SEEK_END)
    try:
        while at < size:
            at += os.sendfile(out.fileno(), bodies.fileno(), at, _COPIED_AT_ONCE)
    except BrokenPipeError:
        raise
    except (OSError, ValueError):  # this system sends into sockets only; an output without a descriptor
        bodies.seek(at)
        copyfileobj(bodies, out)
