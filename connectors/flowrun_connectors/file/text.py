"""From bytes to text: unpacked within bounds, in the encoding that is said, and the place of a byte that is wrong."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import zlib
from typing import IO, cast

from flowrun.errors import ProjectError, Refused, Unavailable

FREE_BYTES = 16 << 20  # unpacked, before the ratio counts
MOST_RATIO = 200  # times its packed size; text packs 3 to 20 times
MOST_BYTES = 64 << 30  # unpacked
_BLOCK = 1 << 18
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
STILL = "is it still being written?"


def codec(encoding: str) -> str:
    """The codec's own name. Raises ProjectError for one that is none, or is none of text."""
    try:
        found = codecs.lookup(encoding)
        "".encode(encoding)
    except (LookupError, ValueError):
        raise ProjectError(f"there is no encoding '{encoding}'", help="utf-8, utf-16, latin-1, cp1252 …") from None
    name = found.name
    return "utf-8" if name == "utf-8-sig" else name


def stream_of(fd: int, name: str) -> IO[bytes]:
    """The file's bytes, unpacked. Owns ``fd``.

    A packed file is unpacked once to the end before its first record is given, so that a bomb, a cut end and a wrong
    checksum are known in time. Raises Refused, Unavailable.
    """
    raw = os.fdopen(fd, "rb", buffering=_BLOCK)
    magic = raw.read(2)
    raw.seek(0)
    if not name.endswith(".gz"):
        if magic == b"\x1f\x8b":
            raw.close()
            raise Refused(f"{name} is packed with gzip", help=f"name it {name.rsplit('/', 1)[-1]}.gz")
        return raw
    try:
        _prove(raw, name)
        raw.seek(0)
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw, mode="rb")) if magic else raw
    except BaseException:
        raw.close()
        raise


def _prove(raw: IO[bytes], name: str) -> None:
    packed, total = os.fstat(raw.fileno()).st_size, 0
    if not packed:
        return
    try:
        with gzip.GzipFile(fileobj=raw, mode="rb") as unpacked:
            while block := unpacked.read(_BLOCK):
                total += len(block)
                if total > MOST_BYTES or (total > FREE_BYTES and total > packed * MOST_RATIO):
                    raise Refused(
                        f"{name} unpacks to more than {MOST_RATIO} times its size; it is not read",
                        help="unpack it by hand if it is what it should be",
                    )
    except EOFError:
        raise Unavailable(f"{name} is cut short: its packed end is missing", help=STILL) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise Refused(f"{name} is no gzip file, or damaged: {error}") from None


def text_of(stream: IO[bytes], encoding: str, name: str) -> io.TextIOWrapper:
    """Text with its line ends as they are, without a byte order mark. Raises Refused when that tells otherwise."""
    head = stream.read(4)
    stream.seek(0)
    mark, told = mark_of(head)
    if told and not told.startswith(encoding):
        raise Refused(
            f"{name} begins with the byte order mark of {told}, but is to be read as {encoding}",
            help=f"encoding: {told.removesuffix('-le').removesuffix('-be')}",
        )
    if encoding in ("utf-16", "utf-32") and not told and head:
        raise Refused(f"{name} has no byte order mark", help=f"encoding: {encoding}-le or {encoding}-be")
    stream.seek(len(mark))
    return io.TextIOWrapper(stream, encoding=told or encoding, newline="")


def mark_of(head: bytes) -> tuple[bytes, str]:
    """The byte order mark that a text begins with, and the encoding it tells; ("" for none)."""
    return next(((mark, name) for mark, name in _MARKS if head.startswith(mark)), (b"", ""))


def wrong_byte(stream: IO[bytes], encoding: str, name: str) -> Refused:
    """Where the text stops being text: byte (from 0, of the unpacked file) and line."""
    offset = _first_wrong(stream, encoding)
    stream.seek(0)
    good = codecs.getincrementaldecoder(encoding)("ignore")
    left, line = offset, 1
    while left and (block := stream.read(min(_BLOCK, left))):
        line += good.decode(block).count("\n")
        left -= len(block)
    stream.seek(offset)
    bad = stream.read(1)
    shown = f"0x{bad[0]:02x}" if bad else "its end"
    return Refused(
        f"{name}:{line}: byte {offset} ({shown}) is no {encoding} text",
        help="set encoding: to what the sender writes (latin-1, cp1252, utf-16 …)",
    )


def _first_wrong(stream: IO[bytes], encoding: str) -> int:
    stream.seek(0)
    decoder, read = codecs.getincrementaldecoder(encoding)(), 0
    while True:
        block = stream.read(_BLOCK)
        try:
            decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            return read - (len(error.object) - len(block)) + error.start
        except UnicodeError:  # utf-16 without a mark says no more
            return 0
        read += len(block)
        if not block:
            return read
