"""A file that is either there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

WRITTEN_AT_ONCE = 1 << 20  # bytes


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Write beside ``path``; what is written gets its name at the end, when it is on the disk.

    A link is followed, the rights of a file that is replaced are kept. What is no plain file (a pipe, ``/dev/null``) is
    written to directly.
    """
    path = Path(os.path.realpath(path))
    if path.parts[1:2] in (("dev",), ("proc",)) or (path.exists() and not path.is_file()):
        with path.open("wb", WRITTEN_AT_ONCE) as out:
            yield out
        return
    number, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    aside = Path(name)
    try:
        with open(number, "wb", WRITTEN_AT_ONCE) as out:  # noqa: PTH123 - a descriptor, no path
            os.fchmod(number, path.stat().st_mode & 0o7777 if path.exists() else 0o666 & ~_umask())
            yield out
            out.flush()
            os.fsync(number)
        aside.replace(path)
    except BaseException:
        with suppress(OSError):
            aside.unlink()
        raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
