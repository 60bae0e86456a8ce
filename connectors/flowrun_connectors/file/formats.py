"""Records of one file: CSV, JSON, JSON Lines. Streamed, except a JSON document, which is bounded."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from flowrun.errors import ConnectorError, ProjectError, Refused, Unavailable
from flowrun_connectors._json import parse_json
from flowrun_connectors.file.text import STILL, codec, text_of, wrong_byte

KINDS = ("csv", "json", "jsonl")
MOST_LINE = 16 << 20  # characters
MOST_DOCUMENT = 64 << 20  # characters of a JSON document, which is held whole
_SUFFIXES = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}


@dataclass(frozen=True, slots=True)
class Dialect:
    """How files are written. kind "" and delimiter "": by the file's name. columns: of files without a first line."""

    kind: str = ""
    encoding: str = "utf-8"
    delimiter: str = ""
    quote: str = '"'
    columns: tuple[str, ...] = ()
    keep_bad: bool = False

    @classmethod
    def of(cls, settings: Any) -> Dialect:
        """Raises ProjectError for what makes no sense."""
        if settings.format not in ("", *KINDS):
            raise ProjectError(f"there is no format '{settings.format}'", help=f"format: {', '.join(KINDS)}")
        if settings.bad_lines not in ("stop", "keep"):
            raise ProjectError(f"bad_lines is stop or keep, not '{settings.bad_lines}'")
        delimiter = {"tab": "\t", "\\t": "\t"}.get(settings.delimiter, settings.delimiter)
        for name, one in (("delimiter", delimiter), ("quote", settings.quote)):
            if len(one) > 1 or one in ("\r", "\n", "\0", '"' if name == "delimiter" else "\t"):
                raise ProjectError(f"{name} is one character, not {one!r}", help='delimiter: ";" or tab')
        if delimiter and delimiter == settings.quote:
            raise ProjectError("delimiter and quote are the same character")
        columns = settings.columns or ()
        if not isinstance(columns, list | tuple) or not all(isinstance(one, str) and one for one in columns):
            raise ProjectError("columns is a list of names", help="columns: [sku, quantity]")
        if len(set(columns)) != len(columns):
            raise ProjectError(f"columns names '{_twice(columns)}' twice")
        return cls(settings.format, codec(settings.encoding), delimiter, settings.quote, tuple(columns),
                   settings.bad_lines == "keep")  # fmt: skip

    def kind_of(self, name: str) -> str:
        plain = name.removesuffix(".gz")
        found = self.kind or _SUFFIXES.get("." + plain.rsplit(".", 1)[-1].lower(), "")
        if not found:
            raise Refused(f"what {name} holds cannot be told from its name", help=f"format: {', '.join(KINDS)}")
        return found

    def csv(self, name: str) -> dict[str, Any]:
        """For ``csv.reader`` and ``csv.writer``."""
        tabs = name.removesuffix(".gz").lower().endswith(".tsv")
        quoting: dict[str, Any] = {"quotechar": self.quote} if self.quote else {"quoting": csv.QUOTE_NONE}
        return {"delimiter": self.delimiter or ("\t" if tabs else ","), "strict": True, **quoting}


def records(stream: IO[bytes], name: str, how: Dialect) -> Iterator[dict[str, Any]]:
    """Each record as a dict; CSV cells are text. Raises Refused with file and line, Unavailable for a cut end."""
    read = {"csv": _table, "json": _document, "jsonl": _objects}[how.kind_of(name)]
    text = text_of(stream, how.encoding, name)
    try:
        yield from read(text, name, how)
    except UnicodeError:
        raise wrong_byte(stream, how.encoding, name) from None
    finally:
        text.detach()


def columns(stream: IO[bytes], name: str, how: Dialect) -> list[str]:
    """The names of a CSV file's cells; [] when it is empty."""
    if how.columns:
        return list(how.columns)
    text = text_of(stream, how.encoding, name)
    try:
        return _head(csv.reader(_Lines(text, name), **how.csv(name)), name)
    except UnicodeError:
        raise wrong_byte(stream, how.encoding, name) from None
    finally:
        text.detach()


class _Lines:
    """Lines of a text, each bounded. cut: the last one had no end."""

    def __init__(self, text: io.TextIOWrapper, name: str) -> None:
        self.text = text
        self.name = name
        self.number = 0
        self.cut = False

    def __iter__(self) -> Iterator[str]:
        read = self.text.readline
        while line := read(MOST_LINE + 1):
            self.number += 1
            if len(line) > MOST_LINE:
                raise Refused(f"{self.name}:{self.number}: a line of more than {MOST_LINE} characters")
            if "\0" in line:
                raise Refused(f"{self.name}:{self.number}: a NUL character", help="is it UTF-16? encoding: utf-16-le")
            self.cut = line[-1] not in "\r\n"
            yield line


def _head(reader: Any, name: str) -> list[str]:
    try:
        head: list[str] = next(reader, [])
    except csv.Error as error:
        raise Refused(f"{name}:1: not CSV: {error}") from None
    for number, one in enumerate(head, 1):
        if not one.strip():
            raise Refused(f"{name}:1: column {number} has no name", help="if there is no line of names: columns: […]")
    if len(set(head)) != len(head):
        raise Refused(f"{name}:1: the column '{_twice(head)}' stands twice", help="rename one of them")
    return head


def _twice(names: Any) -> str:
    return next(str(one) for one in names if list(names).count(one) > 1)


def _table(text: io.TextIOWrapper, name: str, how: Dialect) -> Iterator[dict[str, Any]]:
    lines = _Lines(text, name)
    reader = csv.reader(iter(lines), **how.csv(name))
    head = list(how.columns) or _head(reader, name)
    width, before = len(head), reader.line_num
    try:
        for cells in reader:
            number, before = before + 1, reader.line_num
            if len(cells) == width:
                if how.columns and number == 1 and tuple(cells) == how.columns:
                    raise Refused(f"{name}:1: the first line holds the names", help="leave out columns:")
                yield dict(zip(head, cells, strict=True))
            elif cells:
                words = f"{len(cells)} cells where there are {width} columns"
                if lines.cut:
                    raise Unavailable(f"{name}:{number}: {words}, and the line has no end", help=STILL)
                yield from _bad(name, number, words, cells, how)
    except csv.Error as error:
        where = f"{name}:{before + 1}: "
        if "unexpected end" in str(error):
            raise Unavailable(where + "a quote is opened and not closed", help=STILL) from None
        raise Refused(where + f"not CSV: {error}", help="delimiter: and quote: as the sender writes them") from None


def _bad(name: str, number: int, words: str, held: Any, how: Dialect) -> Iterator[dict[str, Any]]:
    """A line that is no record: the end of the read, or kept as one that no flow can identify, and so a dead letter."""
    if not how.keep_bad:
        raise Refused(f"{name}:{number}: {words}", help="mend the line, or bad_lines: keep")
    yield {"_error": f"{name}:{number}: {words}", "_line": number, "_held": held}


def _objects(text: io.TextIOWrapper, name: str, how: Dialect) -> Iterator[dict[str, Any]]:
    lines = _Lines(text, name)
    for line in lines:
        if not line.strip():
            continue
        where = f"{name}:{lines.number}"
        try:
            found = parse_json(line, f"{where}:")
        except Unavailable:
            if lines.cut:
                raise Unavailable(f"{where}: half a record, and the line has no end", help=STILL) from None
            yield from _bad(name, lines.number, "not JSON", line.rstrip("\r\n"), how)
        except ConnectorError as error:
            yield from _bad(name, lines.number, error.message.removeprefix(f"{where}: "), line.rstrip("\r\n"), how)
        else:
            if isinstance(found, dict):
                yield found
            else:
                yield from _bad(name, lines.number, "a record is an object", line.rstrip("\r\n"), how)


def _document(text: io.TextIOWrapper, name: str, how: Dialect) -> Iterator[dict[str, Any]]:
    document = text.read(MOST_DOCUMENT + 1)
    if len(document) > MOST_DOCUMENT:
        raise Refused(
            f"{name} is larger than {MOST_DOCUMENT >> 20} MiB, and a JSON document is held whole",
            help="write JSON Lines (.jsonl), which are streamed",
        )
    if not document:
        return
    try:
        found = parse_json(document, f"{name}:")
    except Unavailable as error:
        raise Unavailable(error.message, help=STILL) from None
    except ConnectorError as error:
        raise Refused(error.message) from None
    for number, row in enumerate(found if isinstance(found, list) else [found], 1):
        if not isinstance(row, dict):
            raise Refused(f"{name}: record {number} is no object")
        yield row
