"""Writing files so that a record is there whole or not at all, whenever the power goes.

Appending: a journal beside the file (``.NAME.flowrun``) holds its length before; then the records are written and made
durable; then the journal goes. Who finds a journal cuts the file back to that length first. Upserting: the whole file
is written anew beside the old one and takes its place.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from decimal import Decimal
from typing import Any

from flowrun.connector import Item, Receipt, Verdict
from flowrun.errors import ConnectorError, DeliveryUnknown, NotFound, Refused, Unavailable
from flowrun.values import encode_json
from flowrun_connectors.file.folder import Folder, is_pattern, open_to_write
from flowrun_connectors.file.formats import Dialect, columns, records
from flowrun_connectors.file.text import mark_of, stream_of

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
Row = Mapping[str, Any]
"""A record as it stands in a file."""


def journal_of(last: str) -> str:
    return f".{last}.flowrun"


def identity(object: str, row: Row) -> str:
    """The receipt's id of a record: its file and a digest of what it holds, wherever it stands."""
    return f"{object}#{hashlib.blake2b(encode_json(dict(row)), digest_size=8).hexdigest()}"


class Writer:
    """spreadsheet: cells that a spreadsheet would take for a formula begin with an apostrophe."""

    def __init__(self, folder: Folder, how: Dialect, *, spreadsheet: bool) -> None:
        self._folder = folder
        self._how = how
        self._spreadsheet = spreadsheet

    def find(self, object: str, by: Row) -> Sequence[Receipt]:
        """Raises Refused for an empty ``by``."""
        if not by:
            raise Refused("nothing to search by")
        self._writable(object)
        wanted = self._row(object, by)
        try:
            with self._locked(object, make=False) as (parent, last):
                self._recover(parent, last)
                with closing(self._rows(object)) as rows:
                    return [Receipt(identity(object, row), response=row) for row in rows if _holds(row, wanted)]
        except NotFound:
            return []

    def deliver(self, object: str, items: Sequence[Item]) -> list[Verdict]:
        """Items of one file and action; durable before the verdicts."""
        try:
            self._writable(object)
            with self._locked(object, make=True) as (parent, last):
                self._recover(parent, last)
                write = self._upsert if items[0].action == "upsert" else self._append
                return write(object, items, parent, last)
        except ConnectorError as error:
            return [error for _ in items]
        except OSError as error:
            return [Unavailable(f"{object} cannot be written: {error.strerror}") for _ in items]

    def _writable(self, object: str) -> None:
        if is_pattern(object):
            raise Refused(f"'{object}' is a pattern; name one file to write")
        if object.endswith(".gz") or self._how.kind_of(object) == "json":
            raise Refused(f"{object} cannot be written", help="records go to .csv, .tsv and .jsonl files")

    # -- appending -------------------------------------------------------------------------------------------------

    def _append(self, object: str, items: Sequence[Item], parent: int, last: str) -> list[Verdict]:
        fd = open_to_write(last, parent, object)
        try:
            size = os.fstat(fd).st_size
            told = mark_of(os.pread(fd, 4, 0))[1]
            if told.endswith("-be") and not self._how.encoding.endswith("-be"):  # what is added would be the other way
                raise Refused(f"{object} is {told}", help=f"encoding: {told}")
            head = self._columns(object, fd) if size else list(self._how.columns)
            verdicts, parts = list[Verdict](), list[bytes]()
            first = not size
            for item in items:
                try:
                    row = self._row(object, item.body)
                    head = head or list(row)
                    parts.append(self._encoded(object, row, head, first=first))
                    verdicts.append(
                        Receipt(identity(object, self._as_read(object, row, head)), created=True, response=row)
                    )
                    first = False
                except ConnectorError as error:
                    verdicts.append(error)
            if parts:
                if size and not self._ends(fd, size):
                    parts.insert(0, self._bytes("\n", start=False))
                self._durably(fd, size, b"".join(parts), parent, last)
            return verdicts
        finally:
            os.close(fd)

    def _durably(self, fd: int, size: int, data: bytes, parent: int, last: str) -> None:
        """Raises OSError when nothing was written, DeliveryUnknown when that cannot be said."""
        journal = journal_of(last)
        self._write_journal(journal, f"{os.fstat(fd).st_ino} {size}", parent)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(fd, left) :]
            os.fsync(fd)
        except OSError as error:
            try:
                os.ftruncate(fd, size)
                os.fsync(fd)
            except OSError:  # the journal stays, and the next write or look-up cuts the file back
                raise DeliveryUnknown(f"{last} could not be written to its end: {error.strerror}") from None
            _remove(journal, parent)
            raise
        _remove(journal, parent)

    @staticmethod
    def _write_journal(name: str, text: str, parent: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=parent)
        try:
            os.write(fd, text.encode())
            os.fsync(fd)
        finally:
            os.close(fd)
        os.fsync(parent)

    @staticmethod
    def _recover(parent: int, last: str) -> None:
        """Cut off what a write that never ended has left."""
        journal = journal_of(last)
        try:
            fd = os.open(journal, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        except FileNotFoundError:
            return
        with os.fdopen(fd, "rb") as file:
            inode, _, size = file.read(64).decode("ascii", "replace").partition(" ")
        with suppress(FileNotFoundError):
            fd = os.open(last, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                at = os.fstat(fd)
                if inode == str(at.st_ino) and size.isdigit() and int(size) < at.st_size:  # else it is another file now
                    os.ftruncate(fd, int(size))
                    os.fsync(fd)
            finally:
                os.close(fd)
        _remove(journal, parent)

    # -- upserting -------------------------------------------------------------------------------------------------

    def _upsert(self, object: str, items: Sequence[Item], parent: int, last: str) -> list[Verdict]:
        """The last item of a key wins; where the file has several records of it, all are replaced by one."""
        held: list[Row | None] = []
        head = list(self._how.columns)
        with suppress(NotFound):
            with closing(self._rows(object)) as rows:
                held.extend(rows)
            head = self._columns_of(object)
        known = _Index(held)
        verdicts: list[Verdict] = []
        for item in items:
            try:
                if not item.match or any(name not in item.body for name in item.match):
                    raise Refused("an upsert says which fields name the record", help="match: FIELD")
                row = self._row(object, item.body)
                head = head or list(row)
                self._encoded(object, row, head, first=False)
                same = known.places(item.match, row)
                new = {**(held[same[0]] or {}), **row} if same else row
                for place in same[1:]:
                    held[place] = None
                if same:
                    held[same[0]] = new
                else:
                    known.add(item.match, row, len(held))
                    held.append(new)
                name = ", ".join(_text(row[one]) for one in item.match)
                verdicts.append(Receipt(name, created=not same, response=new))
            except ConnectorError as error:
                verdicts.append(error)
        if any(isinstance(one, Receipt) for one in verdicts):
            rest = [row for row in held if row is not None]
            self._replace((self._encoded(object, r, head, first=not n) for n, r in enumerate(rest)), parent, last)
        return verdicts

    @staticmethod
    def _replace(data: Iterator[bytes], parent: int, last: str) -> None:
        whole = f".{last}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(whole, flags, 0o640, dir_fd=parent)
        try:
            with os.fdopen(fd, "wb") as file:
                file.writelines(data)
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileNotFoundError):
                os.chmod(whole, os.stat(last, dir_fd=parent, follow_symlinks=False).st_mode & 0o777, dir_fd=parent)
            os.rename(whole, last, src_dir_fd=parent, dst_dir_fd=parent)
        except OSError:
            _remove(whole, parent)
            raise
        os.fsync(parent)

    # -- one record ------------------------------------------------------------------------------------------------

    def _row(self, object: str, body: Row) -> dict[str, Any]:
        """As it stands in the file: texts in CSV, values in JSON."""
        if self._how.kind_of(object) != "csv":
            return dict(body)
        return {name: self._cell(value) for name, value in body.items()}

    def _as_read(self, object: str, row: Row, head: Sequence[str]) -> Row:
        return row if self._how.kind_of(object) != "csv" else {name: row.get(name, "") for name in head}

    def _encoded(self, object: str, row: Row, head: Sequence[str], *, first: bool) -> bytes:
        """first: nothing stands before it, so names (and a byte order mark) do. Raises Refused."""
        if self._how.kind_of(object) != "csv":
            return self._bytes(encode_json(dict(row)).decode() + "\n", start=first)
        unknown = [name for name in row if name not in head]
        if unknown:
            known = ", ".join(head)
            raise Refused(f"{object} has no column '{unknown[0]}'", field=unknown[0], help=f"its columns: {known}")
        try:
            lines = [self._line(object, head)] if first and not self._how.columns else []
            lines.append(self._line(object, [row.get(name, "") for name in head]))
        except csv.Error as error:
            raise Refused(f"a cell cannot be written without quotes: {error}", help="quote: a character") from None
        return self._bytes("".join(lines), start=first)

    def _line(self, object: str, cells: Sequence[str]) -> str:
        text = io.StringIO(newline="")
        # Cells that hold either character are quoted only when both are the line's end.
        csv.writer(text, lineterminator="\r\n", **self._how.csv(object)).writerow(cells)
        return text.getvalue()[:-2] + "\n"

    def _bytes(self, text: str, *, start: bool) -> bytes:
        encoding = self._how.encoding
        if encoding in ("utf-16", "utf-32"):  # the mark stands once, at the beginning
            encoding, text = f"{encoding}-le", ("\ufeff" if start else "") + text
        try:
            return text.encode(encoding)
        except UnicodeEncodeError as error:
            bad = error.object[error.start]
            raise Refused(f"'{bad}' cannot be written as {encoding}", help="encoding: utf-8") from None

    def _cell(self, value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, dict | list):
            return encode_json(value).decode()
        if isinstance(value, bool):
            return "true" if value else "false"
        text = format(value, "f") if isinstance(value, Decimal) else str(value)
        formula = self._spreadsheet and isinstance(value, str) and text.startswith(_FORMULA)
        return "'" + text if formula else text

    # -- the file --------------------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self, object: str, *, make: bool) -> Iterator[tuple[int, str]]:
        """The file's folder, held against other writers of flowrun on this machine."""
        with self._folder.parent(object, make=make) as (parent, last):
            fcntl.flock(parent, fcntl.LOCK_EX)
            yield parent, last

    def _rows(self, object: str) -> Generator[dict[str, Any], None, None]:
        with stream_of(self._folder.open(object), object) as stream:
            yield from records(stream, object, self._how)

    def _columns_of(self, object: str) -> list[str]:
        if self._how.kind_of(object) != "csv":
            return []
        with stream_of(self._folder.open(object), object) as stream:
            return columns(stream, object, self._how)

    def _columns(self, object: str, fd: int) -> list[str]:
        if self._how.kind_of(object) != "csv":
            return []
        with stream_of(os.dup(fd), object) as stream:
            stream.seek(0)
            return columns(stream, object, self._how)

    def _ends(self, fd: int, size: int) -> bool:
        """Does it end with a line end? A file that somebody made by hand need not."""
        end = "\n".encode("utf-16-le" if self._how.encoding == "utf-16" else self._how.encoding)
        return os.pread(fd, len(end), max(0, size - len(end))) == end


class _Index:
    """Where the records of a key stand, for each set of fields that is asked by."""

    def __init__(self, held: Sequence[Row | None]) -> None:
        self._held = held
        self._by: dict[tuple[str, ...], dict[tuple[str, ...], list[int]]] = {}

    def places(self, names: tuple[str, ...], row: Row) -> list[int]:
        if names not in self._by:
            self._by[names] = {}
            for place, other in enumerate(self._held):
                if other is not None and all(name in other for name in names):
                    self.add(names, other, place)
        return [n for n in self._by[names].get(_key(names, row), ()) if self._held[n] is not None]

    def add(self, names: tuple[str, ...], row: Row, place: int) -> None:
        self._by[names].setdefault(_key(names, row), []).append(place)


def _key(names: tuple[str, ...], row: Row) -> tuple[str, ...]:
    return tuple(_text(row[name]) for name in names)


def _holds(row: Row, wanted: Row) -> bool:
    return all(
        name in row and (row[name] == value or _text(row[name]) == _text(value)) for name, value in wanted.items()
    )


def _text(value: Any) -> str:
    return encode_json(value).decode() if isinstance(value, dict | list | bool) else str(value)


def _remove(name: str, parent: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=parent)
    os.fsync(parent)
