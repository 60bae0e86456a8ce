"""Reading files once: which are complete, which were read before, and none that changes meanwhile."""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing
from datetime import timedelta
from itertools import islice
from typing import Any

from flowrun.connector import Cursor, Page, Query
from flowrun.errors import ConnectorError, NotFound, Refused, Unavailable
from flowrun.values import Clock
from flowrun_connectors.file.folder import Folder, Found, is_pattern
from flowrun_connectors.file.formats import Dialect, columns, records
from flowrun_connectors.file.text import STILL, stream_of
from flowrun_connectors.file.writing import journal_of

PAGE = 500
_VERSION = "files-1"


class Ledger:
    """The cursor: a mark of each file that was read to its end, as it was then. Files that are gone are forgotten.

    A mark covers name, size and both times of change, so that a file which is replaced by one with an older date is
    read all the same. Text: a version and marks of 12 characters.
    """

    def __init__(self, since: Cursor | None) -> None:
        version, *marks = since.value.split(" ") if since is not None else [""]
        self._before = set(marks) if version == _VERSION else set()  # another version's: all is read again, harmlessly
        self._now: dict[str, None] = {}
        self.changed = False

    def knows(self, found: Found) -> bool:
        mark = _mark(found)
        if mark in self._before:
            self._now[mark] = None
            return True
        return False

    def add(self, found: Found) -> None:
        self._now[_mark(found)] = None
        self.changed = True

    def cursor(self) -> Cursor:
        return Cursor(" ".join([_VERSION, *self._now]))


def _mark(found: Found) -> str:
    text = f"{found.name}\0{found.size}\0{found.mtime_ns}\0{found.ctime_ns}".encode("utf-8", "surrogateescape")
    return base64.urlsafe_b64encode(hashlib.blake2b(text, digest_size=9).digest()).decode()


class Reader:
    """quiet: so long a file must have been left alone. marker: the end of the name that says a file is complete."""

    def __init__(self, folder: Folder, how: Dialect, now: Clock, *, quiet: timedelta, marker: str) -> None:
        self._folder = folder
        self._how = how
        self._now = now
        self._quiet = quiet
        self._marker = marker

    def read(self, query: Query) -> Iterator[Page]:
        """Files oldest change first, each whole. Small ones share a page.

        A file that cannot be read keeps no other from being read: the first error is raised when all are done.
        Raises NotFound when a plain name is not there; Refused, Unavailable.
        """
        ledger = Ledger(query.since if query.cursor is not None else None)
        size, page, errors = query.page_size or PAGE, list[dict[str, Any]](), list[ConnectorError]()
        found = self._files(query.object)
        fresh = [one for one in found if not ledger.knows(one)]
        keep = query.cursor is not None
        for one in fresh:
            start = len(page)
            try:
                why = self._unfinished(one)
                if why:
                    if not is_pattern(query.object):
                        raise Unavailable(f"{one.name} {why}; it is not read yet", help="run again a little later")
                    continue
                with closing(self._records(one)) as rows:
                    for row in rows:
                        page.append(row)
                        if len(page) >= size:
                            self._unchanged(one)
                            yield Page(page, ledger.cursor() if keep and ledger.changed else None)
                            page, start = [], 0
                    self._unchanged(one)
                ledger.add(one)
            except ConnectorError as error:
                del page[start:]  # of a file that is broken or changes, only pages that were whole before
                errors.append(error)
        if page or (keep and ledger.changed):
            yield Page(page, ledger.cursor() if keep and ledger.changed else None)
        if errors:
            if len(errors) > 1:
                errors[0].message += f" (and {len(errors) - 1} more files)"
                errors[0].args = (errors[0].message,)
            raise errors[0]

    def first(self, object: str, count: int, most: int | None = None) -> list[dict[str, Any]]:
        """Some records of the newest file, to see its fields; a CSV file without rows gives one of empty cells.

        most: bytes of a file that has to be read whole before its first record is known; larger ones are left out.
        """
        for found in reversed(self._files(object)):
            whole = found.name.endswith(".gz") or self._how.kind_of(found.name) == "json"
            if most is not None and whole and found.size > most:
                continue
            with closing(self._records(found)) as rows:
                seen = list(islice(rows, count))
            if not seen and self._how.kind_of(found.name) == "csv":
                with stream_of(self._folder.open(found.name), found.name) as stream:
                    seen = [dict.fromkeys(columns(stream, found.name, self._how), "")]
            return seen
        return []

    def _files(self, object: str) -> list[Found]:
        if is_pattern(object):
            files = self._folder.matching(object)
            return [one for one in files if not (self._marker and one.name.endswith(self._marker))]
        state = self._folder.state(object)
        if state is None:
            raise NotFound(f"there is no file '{object}' in {self._folder.shown}")
        return [state]

    def _unfinished(self, one: Found) -> str:
        """Why a file is not read yet; "" when it is complete."""
        if self._marker and self._folder.state(one.name + self._marker) is None:
            return f"has no {one.name.rsplit('/', 1)[-1]}{self._marker} beside it"
        age = self._now().timestamp() - one.mtime_ns / 1e9
        if 0 <= age < self._quiet.total_seconds():
            return f"changed {age:.0f} s ago"
        journal = journal_of(one.name.rpartition("/")[2])
        if self._folder.holds_beside(one.name, journal):
            return f"is being written by flowrun ({journal} stands beside it)"
        return ""

    def _unchanged(self, one: Found) -> None:
        """Raises Unavailable when the file is no longer the one that is being read."""
        if self._folder.state(one.name) != one:
            raise Unavailable(f"{one.name} changed while it was read; it is read again as a whole", help=STILL)

    def _records(self, one: Found) -> Generator[dict[str, Any], None, None]:
        try:
            fd = self._folder.open(one.name)
            if Found.of(one.name, os.fstat(fd)) != one:
                os.close(fd)
                raise Unavailable(f"{one.name} changed before it was read", help=STILL)
            with stream_of(fd, one.name) as stream:
                yield from records(stream, one.name, self._how)
        except EOFError:
            raise Unavailable(f"{one.name} is cut short", help=STILL) from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise Refused(f"{one.name} is damaged: {error}") from None
        except OSError as error:
            raise Unavailable(f"{one.name} cannot be read: {error.strerror or type(error).__name__}") from None
