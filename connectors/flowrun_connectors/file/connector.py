"""Files as source and target. An object is a path below ``root``, or a pattern (``in/*.csv``) for reading.

CSV cells are text. JSON numbers are exact. Reading streams; a page is 500 records.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import IO, Any, ClassVar

from flowrun.connector import Cursor, EventInfo, Health, Item, ObjectInfo, Page, Query, Receipt, Verdict, setting
from flowrun.contract import Shape
from flowrun.errors import ConnectorError, NotFound, Refused, Unavailable
from flowrun.values import Clock, decode_json, encode_json

PAGE = 500
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class FileSettings:
    root: str = setting("The folder; nothing outside it is read or written.", example="data")
    encoding: str = setting("Of CSV and JSON text.", default="utf-8-sig")
    delimiter: str = setting("Between CSV cells.", default=",")


class File:
    """See README.md in this folder."""

    Settings: ClassVar[type] = FileSettings
    title: ClassVar[str] = "Files: CSV, JSON, JSON Lines"
    takes_root: ClassVar[bool] = True
    events: ClassVar[Mapping[str, EventInfo]] = {}
    error_classes: ClassVar[frozenset[str]] = frozenset({"network", "not_found", "rejected", "other"})

    @classmethod
    def objects(cls, settings: Mapping[str, Any]) -> Mapping[str, ObjectInfo]:
        return {}

    @classmethod
    def object_info(cls, object: str, settings: Mapping[str, Any]) -> ObjectInfo | None:
        return ObjectInfo(
            object,
            actions={"create": "find"},
            cursors=("modified",),
            filters=(),
            batch=500,
            note="'modified' is the file's time of change",
        )

    @classmethod
    def describe(cls, object: str, settings: Mapping[str, Any]) -> Shape | None:
        return None

    def __init__(self, settings: FileSettings, http: None, now: Clock, *, root: Path | None = None) -> None:
        self.settings = settings
        self._root = ((root or Path.cwd()) / settings.root).resolve()

    # -- reading ---------------------------------------------------------------------------------------------------

    def read(self, query: Query) -> Iterator[Page]:
        """Files oldest change first, each from its beginning. Raises NotFound when no file matches a plain path."""
        files = sorted(self._matching(query.object), key=lambda f: (f.stat().st_mtime_ns, f.name))
        if not files and not any(c in query.object for c in "*?["):
            raise NotFound(f"there is no file '{query.object}' in {self.settings.root}")
        for path in files:
            changed = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat().replace("+00:00", "Z")
            if query.cursor is not None and query.since is not None and changed < query.since.value:
                continue
            page: list[dict[str, Any]] = []
            for record in self._records(path):
                page.append(record)
                if len(page) == (query.page_size or PAGE):
                    yield Page(page)
                    page = []
            yield Page(page, Cursor(changed) if query.cursor is not None else None)

    def _matching(self, pattern: str) -> list[Path]:
        self._inside(pattern)
        return [p for p in self._root.glob(pattern) if p.is_file() and p.resolve().is_relative_to(self._root)]

    def _inside(self, name: str) -> None:
        parts = PurePosixPath(name).parts
        if not name or name.startswith("/") or ".." in parts or "\0" in name or any(len(part) > 200 for part in parts):
            raise Refused(f"'{name[:60]}' is no path inside {self.settings.root}")

    def _records(self, path: Path) -> Iterator[dict[str, Any]]:
        kind = _kind(path)
        try:
            with self._open(path) as raw:
                if kind == "csv":
                    yield from self._csv(path, raw)
                elif kind == "json":
                    yield from self._json(path, raw)
                else:
                    yield from self._lines(path, raw)
        except UnicodeDecodeError as error:
            raise Refused(
                f"{path.name} is not {self.settings.encoding} text (byte {error.start})", help="set encoding"
            ) from None
        except (OSError, EOFError, gzip.BadGzipFile) as error:
            raise Unavailable(f"{path.name} cannot be read: {error}", help="is it still being written?") from None

    @staticmethod
    def _open(path: Path) -> IO[bytes]:
        return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]

    def _csv(self, path: Path, raw: IO[bytes]) -> Iterator[dict[str, Any]]:
        text = io.TextIOWrapper(raw, encoding=self.settings.encoding, newline="")
        reader = csv.reader(text, delimiter=self.settings.delimiter, strict=True)
        try:
            head = next(reader, None)
            if head is None:
                return
            if len(set(head)) != len(head):
                raise Refused(f"{path.name}: a column stands twice in the first line")
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(head):
                    raise Refused(
                        f"{path.name}:{reader.line_num}: {len(cells)} cells where the first line has {len(head)}",
                        help="is it still being written?",
                    )
                yield dict(zip(head, cells, strict=True))
        except csv.Error as error:
            raise Refused(f"{path.name}:{reader.line_num}: not CSV: {error}") from None

    def _json(self, path: Path, raw: IO[bytes]) -> Iterator[dict[str, Any]]:
        try:
            found = json.loads(raw.read().decode(self.settings.encoding), parse_float=Decimal)
        except ValueError as error:
            if isinstance(error, UnicodeDecodeError):
                raise
            raise Refused(f"{path.name} is not JSON: {error}", help="is it still being written?") from None
        for index, row in enumerate(found if isinstance(found, list) else [found]):
            if not isinstance(row, dict):
                raise Refused(f"{path.name}: record {index + 1} is no object")
            yield row

    def _lines(self, path: Path, raw: IO[bytes]) -> Iterator[dict[str, Any]]:
        for number, line in enumerate(raw, 1):
            text = line.decode(self.settings.encoding).strip()
            if not text:
                continue
            try:
                row = decode_json(text)
            except ValueError:
                half = "; the last line is not complete" if not line.endswith(b"\n") else ""
                raise Refused(f"{path.name}:{number}: not JSON{half}", help="is it still being written?") from None
            if not isinstance(row, dict):
                raise Refused(f"{path.name}:{number}: a record is an object")
            yield row

    # -- writing ---------------------------------------------------------------------------------------------------

    def find(self, object: str, by: Mapping[str, Any]) -> Sequence[Receipt]:
        path = self._target(object)
        if not path.exists():
            return []
        wanted = {name: str(value) for name, value in by.items()}
        return [
            Receipt(f"{object}:{number}", response=record)
            for number, record in enumerate(self._records(path), 1)
            if all(str(record.get(name)) == value for name, value in wanted.items())
        ]

    def deliver(self, items: Sequence[Item]) -> Sequence[Verdict]:
        """Append; on disk before the verdict."""
        verdicts: list[Verdict] = []
        for item in items:
            try:
                verdicts.append(self._append(item))
            except ConnectorError as error:
                verdicts.append(error)
            except OSError as error:
                verdicts.append(Unavailable(f"{item.object} cannot be written: {error.strerror}"))
        return verdicts

    def _target(self, object: str) -> Path:
        self._inside(object)
        if any(c in object for c in "*?["):
            raise Refused(f"'{object}' is a pattern; name one file to write")
        path = self._root / object
        if not path.parent.resolve().is_relative_to(self._root):
            raise Refused(f"'{object}' leads outside {self.settings.root}")
        if path.suffix == ".gz" or _kind(path) == "json":
            raise Refused("records are appended to .csv and .jsonl files")
        return path

    def _append(self, item: Item) -> Receipt:
        path = self._target(item.object)
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        try:
            handle = os.open(path, flags, 0o600)
        except OSError as error:
            raise Refused(f"{item.object} cannot be opened: {error.strerror}") from None
        with os.fdopen(handle, "r+b") as out:
            if not stat.S_ISREG(os.fstat(out.fileno()).st_mode):
                raise Refused(f"{item.object} is no plain file")
            size = out.seek(0, os.SEEK_END)
            data = (
                self._csv_rows(path, out, size, item.body)
                if _kind(path) == "csv"
                else encode_json(dict(item.body)) + b"\n"
            )
            if size:
                out.seek(size - 1)
                if out.read(1) != b"\n":  # a line cut short by a crash is closed, and read as broken, never as a record
                    data = b"\n" + data
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        return Receipt(f"{item.object}@{size}", created=True, response=dict(item.body))

    def _csv_rows(self, path: Path, out: IO[bytes], size: int, body: Mapping[str, Any]) -> bytes:
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=self.settings.delimiter, lineterminator="\n")
        if size:
            out.seek(0)
            head = next(csv.reader(io.TextIOWrapper(io.BytesIO(out.readline()), encoding=self.settings.encoding)), [])
            unknown = [name for name in body if name not in head]
            if unknown:
                raise Refused(f"{path.name} has no column {', '.join(unknown)}", field=unknown[0])
        else:
            head = list(body)
            writer.writerow(head)
        writer.writerow([_cell(body.get(name)) for name in head])
        return text.getvalue().encode(self.settings.encoding.replace("utf-8-sig", "utf-8"))

    def check(self) -> Health:
        if not self._root.is_dir():
            return Health(False, f"there is no folder {self.settings.root}")
        return Health(os.access(self._root, os.R_OK), f"{self.settings.root} can be read")


def _kind(path: Path) -> str:
    name = path.name.removesuffix(".gz")
    if name.endswith((".csv", ".tsv", ".txt")):
        return "csv"
    return "json" if name.endswith(".json") else "lines"


def _cell(value: Any) -> str:
    """A cell a spreadsheet will not take for a formula."""
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return encode_json(value).decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    text = format(value, "f") if isinstance(value, Decimal) else str(value)
    return "'" + text if isinstance(value, str) and text.startswith(_FORMULA) else text
