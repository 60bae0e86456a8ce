"""Room for both sides of a comparison, on disk, so that memory does not grow with them: an SQLite database of its own
that has no name and goes with the process. Values are closed as the store closes its own."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flowrun.errors import StoreError
from flowrun.store.cover import Cover
from flowrun.values import decode_json, encode_json

KINDS = ("missing", "different", "extra", "double", "rejected")
"""double: several objects at the target where one is meant. rejected: the source's record cannot be mapped."""
_PART = 500
_TABLES = """
CREATE TABLE expected (
    n INTEGER PRIMARY KEY, name BLOB UNIQUE, about BLOB, seen INTEGER NOT NULL DEFAULT 0, print BLOB
);
CREATE TABLE skipped (key BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE found (n INTEGER PRIMARY KEY, kind INTEGER NOT NULL, repairable INTEGER NOT NULL, about BLOB);
CREATE INDEX found_by_kind ON found (kind, n);
"""


class Spool:
    """Facts are plain JSON. A name stands there as a digest that only this process can make."""

    def __init__(self, cover: Cover) -> None:
        self._cover = cover
        self._secret = os.urandom(32)
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)  # "": on disk, and unnamed
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.executescript(_TABLES)
        self._db.execute("BEGIN")

    def close(self) -> None:
        self._db.close()

    def digest(self, value: Any) -> bytes:
        return hashlib.blake2b(encode_json(value), digest_size=16, key=self._secret).digest()

    # -- what the source says --------------------------------------------------------------------------------------

    def expected(self, names: Sequence[Any]) -> dict[bytes, dict[str, Any]]:
        """Facts by digest of the names that are there; each with ``n``, ``seen`` and ``print``."""
        found: dict[bytes, dict[str, Any]] = {}
        digests = [self.digest(name) for name in names]
        with _said():
            for start in range(0, len(digests), _PART):
                part = digests[start : start + _PART]
                marks = ",".join("?" * len(part))
                query = f"SELECT name, n, about, seen, print FROM expected WHERE name IN ({marks})"  # noqa: S608
                for name, n, about, seen, print_ in self._db.execute(query, part):
                    found[name] = {**self._opened(about), "n": n, "seen": seen, "print": print_}
        return found

    def expect(self, name: Any, facts: dict[str, Any]) -> None:
        """In place of what had that name before."""
        with _said():
            self._db.execute(
                "INSERT INTO expected (name, about) VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET about = excluded.about",
                (self.digest(name), self._closed(facts)),
            )

    def see(self, n: int, print_: bytes) -> None:
        """The target has it."""
        with _said():
            self._db.execute("UPDATE expected SET seen = seen + 1, print = ? WHERE n = ?", (print_, n))

    def parts(self, size: int, *, unseen: bool = False) -> Iterator[list[dict[str, Any]]]:
        """All that is expected (or of it what was not seen), in the order in which it came."""
        after, more = 0, "AND seen = 0" if unseen else ""
        query = f"SELECT n, about FROM expected WHERE n > ? {more} ORDER BY n LIMIT ?"  # noqa: S608
        while True:
            with _said():
                rows = self._db.execute(query, (after, size)).fetchall()
            if not rows:
                return
            after = rows[-1][0]
            yield [{**self._opened(about), "n": n} for n, about in rows]

    def skip(self, key: str) -> None:
        with _said():
            self._db.execute("INSERT OR IGNORE INTO skipped VALUES (?)", (self.digest(key),))

    def was_skipped(self, key: str) -> bool:
        with _said():
            found = self._db.execute("SELECT 1 FROM skipped WHERE key = ?", (self.digest(key),)).fetchone()
        return found is not None

    # -- what differs ----------------------------------------------------------------------------------------------

    def differ(self, kind: str, facts: dict[str, Any], *, repairable: bool = False) -> None:
        with _said():
            self._db.execute(
                "INSERT INTO found (kind, repairable, about) VALUES (?, ?, ?)",
                (KINDS.index(kind), int(repairable), self._closed(facts)),
            )

    def differences(self, *, repairable: bool = False, limit: int = -1) -> Iterator[tuple[str, dict[str, Any]]]:
        query = f"SELECT kind, about FROM found {'WHERE repairable' if repairable else ''} ORDER BY kind, n LIMIT ?"  # noqa: S608
        with _said():
            for kind, about in self._db.execute(query, (limit,)):
                yield KINDS[kind], self._opened(about)

    def keys(self, kind: str, limit: int) -> list[str]:
        with _said():
            query = "SELECT about FROM found WHERE kind = ? ORDER BY n LIMIT ?"
            rows = self._db.execute(query, (KINDS.index(kind), limit)).fetchall()
        return [str(self._opened(about)["key"]) for (about,) in rows]

    # -- closing ---------------------------------------------------------------------------------------------------

    def _closed(self, facts: dict[str, Any]) -> bytes:
        text = encode_json(facts).decode()
        return self._cover.close(text, "reconcile").encode() if self._cover.encrypts else text.encode()

    def _opened(self, about: bytes) -> dict[str, Any]:
        facts: dict[str, Any] = decode_json(self._cover.open(about, "reconcile"))
        return facts


@contextmanager
def _said() -> Iterator[None]:
    """Raises StoreError where the disk has no room."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(
            f"there is no room for the comparison: {error}", help="free disk space, or set TMPDIR"
        ) from None
