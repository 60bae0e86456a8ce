"""Files as source and target. An object is a path below ``root``, or a pattern (``in/*.csv``) for reading."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

from flowrun.connector import EventInfo, Health, Item, ObjectInfo, Page, Query, Receipt, Verdict, setting
from flowrun.contract import Field, Shape
from flowrun.errors import FlowrunError, NotFound, ProjectError
from flowrun.values import Clock, system_clock
from flowrun_connectors.file.folder import Folder, is_pattern
from flowrun_connectors.file.formats import Dialect
from flowrun_connectors.file.reading import Reader
from flowrun_connectors.file.writing import Writer

SAMPLES = 100  # records that describe a file
LOOK_BYTES = 1 << 20  # of a packed file or a document, which validate would have to read whole
LISTED = 200  # files that are named as objects


@dataclass(frozen=True)
class FileSettings:
    root: str = setting("The folder; nothing outside it is read or written.", example="data")
    format: str = setting("csv, json or jsonl, where the file's name does not tell.", default="")
    encoding: str = setting("Of the text: utf-8, utf-16, latin-1, cp1252 …", default="utf-8")
    delimiter: str = setting("Between CSV cells; a comma, or a tab in .tsv, when nothing is said.", default="")
    quote: str = setting("Around CSV cells; empty for none.", default='"')
    columns: Any = setting("Names of the cells of CSV files that have no line of names.", default=None)
    bad_lines: str = setting("stop at a line that is no record, or keep it as a dead letter.", default="stop")
    quiet_secs: int = setting("A file is read when it was left alone for so long.", default=0)
    done_marker: str = setting(
        "A file is read when one with this ending stands beside it.", default="", example=".done"
    )
    spreadsheet: bool = setting("Guard written CSV cells that a spreadsheet takes for formulas.", default=False)


class File:
    """See README.md in this folder."""

    Settings: ClassVar[type] = FileSettings
    title: ClassVar[str] = "Files: CSV, JSON, JSON Lines"
    takes_root: ClassVar[bool] = True
    events: ClassVar[Mapping[str, EventInfo]] = {}
    error_classes: ClassVar[frozenset[str]] = frozenset(
        {"network", "not_found", "rejected", "unknown_outcome", "other"}
    )

    @classmethod
    def objects(cls, settings: Mapping[str, Any]) -> Mapping[str, ObjectInfo]:
        """The files that are there now; any other path is an object too."""
        try:
            found = _folder(settings).matching("**/*")
        except FlowrunError:
            return {}
        known = {one.name: cls.object_info(one.name, settings) for one in found[-LISTED:]}
        return {name: info for name, info in sorted(known.items()) if info is not None}

    @classmethod
    def object_info(cls, object: str, settings: Mapping[str, Any]) -> ObjectInfo | None:
        kind, note = _kind(object, settings)
        if not kind:
            return ObjectInfo(object, readable=False, note=note)
        writable = kind != "json" and not object.endswith(".gz") and not is_pattern(object)
        return ObjectInfo(
            object,
            actions={"create": "find", "upsert": "upsert"} if writable else {},
            cursors=("modified",),
            filters=(),
            batch=500,
            note="cursor 'modified': files that were read are not read again"
            if writable
            else "records are written to one .csv, .tsv or .jsonl file",
        )

    @classmethod
    def describe(cls, object: str, settings: Mapping[str, Any]) -> Shape | None:
        """The fields of the newest file's first records. Open: the next file may have more."""
        columns = settings.get("columns")
        try:
            folder, how = _folder(settings), Dialect.of(_given(settings))
            if isinstance(columns, list | tuple) and how.kind_of(object) == "csv":
                return _shape(object, {str(name): "text" for name in columns}, "columns:")
            return _described(folder, how, object, LOOK_BYTES)
        except FlowrunError:
            return None  # a file that cannot be read is told when it is read

    def __init__(self, settings: FileSettings, http: None, now: Clock, *, root: Path | None = None) -> None:
        """Raises ProjectError for settings that make no sense."""
        how = Dialect.of(settings)
        if settings.quiet_secs < 0:
            raise ProjectError("quiet_secs is 0 or more")
        if settings.done_marker and "/" in settings.done_marker:
            raise ProjectError("done_marker is the end of a file's name", help="done_marker: .done")
        self.settings = settings
        self._how = how
        self._folder = Folder((root or Path.cwd()) / settings.root, settings.root)
        quiet = timedelta(seconds=settings.quiet_secs)
        self._reader = Reader(self._folder, how, now, quiet=quiet, marker=settings.done_marker)
        self._writer = Writer(self._folder, how, spreadsheet=settings.spreadsheet)

    def read(self, query: Query) -> Iterator[Page]:
        """See ``Reader.read``."""
        return self._reader.read(query)

    def find(self, object: str, by: Mapping[str, Any]) -> Sequence[Receipt]:
        return self._writer.find(object, by)

    def deliver(self, items: Sequence[Item]) -> Sequence[Verdict]:
        """Items that follow each other into one file are written together."""
        verdicts: list[Verdict] = []
        for (object, _), group in groupby(items, key=lambda item: (item.object, item.action)):
            verdicts += self._writer.deliver(object, list(group))
        return verdicts

    def pull_contract(self, object: str) -> Shape:
        """Raises NotFound when there is no such file, Refused when it cannot be read."""
        found = _described(self._folder, self._how, object)
        if found is None:
            raise NotFound(f"there is no record in '{object}' to tell its fields")
        return found

    def check(self) -> Health:
        try:
            with self._folder.root() as fd:
                count = len(os.listdir(fd))  # noqa: PTH208 - of an open folder
                writable = os.access(".", os.W_OK, dir_fd=fd)
        except FlowrunError as error:
            return Health(False, error.message)
        except OSError as error:
            return Health(False, f"{self.settings.root} cannot be read: {error.strerror}")
        return Health(
            True, f"{self.settings.root} holds {count} entries, and can be {'written' if writable else 'read'}"
        )


def _folder(settings: Mapping[str, Any]) -> Folder:
    root = str(settings.get("root") or "")
    if not root:
        raise ProjectError("no root is given")
    return Folder(Path(root), root)


def _given(settings: Mapping[str, Any]) -> FileSettings:
    names = ("format", "encoding", "delimiter", "quote", "columns", "bad_lines")
    return FileSettings("", **{name: settings[name] for name in names if settings.get(name) is not None})


def _kind(object: str, settings: Mapping[str, Any]) -> tuple[str, str]:
    try:
        return Dialect.of(_given(settings)).kind_of(object), ""
    except FlowrunError as error:
        return "", f"{error.message}; {error.help}"


def _described(folder: Folder, how: Dialect, object: str, most: int | None = None) -> Shape | None:
    reader = Reader(folder, how, system_clock, quiet=timedelta(0), marker="")
    found = reader.first(object, SAMPLES, most)
    kinds: dict[str, Any] = {}
    for row in found:
        for name, value in row.items():
            kinds[name] = _common(kinds.get(name), _type(value))
    return _shape(object, kinds, f"{object}, its first {len(found)} records") if kinds else None


def _shape(object: str, kinds: Mapping[str, Any], source: str) -> Shape:
    return Shape(object, {name: Field(name, kind) for name, kind in kinds.items()}, closed=False, source=source)


def _type(value: Any) -> str:
    kinds = {str: "text", bool: "boolean", int: "integer", Decimal: "decimal"}
    return kinds.get(type(value), "any")


def _common(before: str | None, now: str) -> str:
    if before in (None, now):
        return now
    return "decimal" if {before, now} == {"integer", "decimal"} else "any"
