"""Lookups: inline tables, CSV and YAML files, cross-references, live look-ups. Tables are text from cell to cell."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flowrun.diagnostics import Span, near
from flowrun.document import Map, Node, Scalar, Seq, parse
from flowrun.flow.model import Lookup, OnMiss, Value
from flowrun.flow.reading import Reader, Scope
from flowrun.flow.rhs import Values
from flowrun.flow.systems import Systems
from flowrun.flow.words import LOOKUP, ON_MISS

MAX_BYTES = 50_000_000


@dataclass(frozen=True, slots=True)
class Table:
    """A file's rows: column names and, per row, its cells and its line."""

    file: str
    columns: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], int], ...]


class Tables:
    """Reads table files of a project, each once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._read: dict[str, Table | str] = {}
        self._digests: dict[str, bytes] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The files that were asked for, there or not."""
        return tuple(self._read)

    def get(self, name: str) -> Table | str:
        """The table, or what is wrong with the file in words."""
        if name not in self._read:
            self._read[name] = self._load(name)
        return self._read[name]

    def digest(self, name: str) -> bytes:
        """Of the file's bytes, so that a flow's hash changes with its tables; b"" when it cannot be read."""
        if name not in self._digests:
            path = (self.root / name).resolve()
            good = isinstance(self._read.get(name), Table)
            self._digests[name] = hashlib.sha256(path.read_bytes()).digest() if good else b""
        return self._digests[name]

    def _load(self, name: str) -> Table | str:
        path = (self.root / name).resolve()
        if not path.is_relative_to(self.root.resolve()):
            return f"'{name}' lies outside the project"
        try:
            there = path.is_file()
        except OSError as error:
            return f"'{name}' cannot be read: {error.strerror}"
        if not there:
            folder = path.parent
            others = sorted(p.name for p in folder.iterdir() if p.is_file()) if folder.is_dir() else []
            guess = near(path.name, others)
            return f"there is no file '{name}'" + (f"; did you mean '{guess}'?" if guess else "")
        if path.stat().st_size > MAX_BYTES:
            return f"'{name}' is larger than {MAX_BYTES:,} bytes; use an xref or a live lookup"
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            return f"'{name}' is not UTF-8 text"
        if path.suffix in (".yaml", ".yml"):
            return _yaml_table(name, text)
        return _csv_table(name, text)


def _csv_table(name: str, text: str) -> Table | str:
    rows: list[tuple[tuple[str, ...], int]] = []
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns: tuple[str, ...] = ()
    line = 1
    try:
        for cells in reader:
            begins, line = line, reader.line_num + 1
            if not cells or (len(cells) == 1 and not cells[0].strip()):
                continue
            if not columns:
                columns = tuple(cell.strip() for cell in cells)
                if len(set(columns)) != len(columns):
                    return f"{name}:{begins}: a column stands twice in the first line"
            elif len(cells) != len(columns):
                return f"{name}:{begins}: {len(cells)} cells where the first line has {len(columns)}"
            else:
                rows.append((tuple(cells), begins))
    except csv.Error as error:
        return f"{name}:{line}: not CSV: {error}"
    return Table(name, columns, tuple(rows)) if columns else f"'{name}' is empty; its first line names the columns"


def _yaml_table(name: str, text: str) -> Table | str:
    """``key: value`` lines (columns key, value), or a list of maps with the same keys."""
    document = parse(text, name)
    if document.problems:
        return f"{document.problems[0].span}: {document.problems[0].message}"
    root = document.root
    if isinstance(root, Map):
        pairs = [(e.key.text, e.value) for e in root.entries]
        bad = next((v for _, v in pairs if not isinstance(v, Scalar)), None)
        if bad is not None:
            return f"{bad.span}: one value belongs here"
        cells = [((k, v.text), v.span.line) for k, v in pairs if isinstance(v, Scalar)]
        return Table(name, ("key", "value"), tuple(cells))
    if isinstance(root, Seq) and root.items and all(isinstance(item, Map) for item in root.items):
        columns = tuple(root.items[0].keys()) if isinstance(root.items[0], Map) else ()
        rows = []
        for item in root.items:
            values = [item.get(column) for column in columns] if isinstance(item, Map) else []
            if len(values) != len(columns) or not all(isinstance(v, Scalar) for v in values):
                return f"{item.span}: every row has the keys {', '.join(columns)}"
            rows.append((tuple(v.text for v in values if isinstance(v, Scalar)), item.span.line))
        return Table(name, columns, tuple(rows))
    return f"'{name}' holds neither 'key: value' lines nor a list of rows"


def key_counts(node: Node | None) -> dict[str, int]:
    """The lookups of a flow and how many key columns each has, before any is checked; 0 where that is not known."""
    found = {}
    for entry in node.entries if isinstance(node, Map) else ():
        one = entry.value
        find = one.get("find") if isinstance(one, Map) else None
        if isinstance(one, Map) and (one.get("table") is not None or one.get("xref") is not None):
            found[entry.key.text] = 1
        elif isinstance(find, Seq):
            found[entry.key.text] = len(find.items)
        else:
            found[entry.key.text] = 1 if isinstance(find, Scalar) else 0
    return found


class LookupReader:
    def __init__(self, reader: Reader, values: Values, tables: Tables, systems: Systems) -> None:
        self.reader = reader
        self.values = values
        self.tables = tables
        self.systems = systems

    def lookups(self, node: Node | None, scope: Scope) -> dict[str, Lookup]:
        found = {}
        for entry in self.reader.entries(node, "'lookups'"):
            lookup = self._one(entry.key.text, entry.value, scope)
            if lookup is not None:
                found[lookup.name] = lookup
        return found

    def _one(self, name: str, node: Node, scope: Scope) -> Lookup | None:
        r = self.reader
        before = len(r.found)
        if not isinstance(node, Map):
            r.say(
                "FR031",
                f"lookup '{name}' is a block",
                node,
                help=f"{name}: {{ file: …, find: …, return: …, on_miss: error }}",
            )
            return None
        parts = r.box(node, LOOKUP, f"lookup '{name}'")
        kinds = [kind for kind in ("file", "table", "xref", "connection") if kind in parts]
        if len(kinds) != 1:
            r.say("FR153", f"lookup '{name}' needs exactly one of file, table, xref, connection", r.head(node))
            return None
        on_miss = self._on_miss(name, node, parts.get("on_miss"), scope)
        kind = kinds[0]
        ignore_case, trim = r.boolean(parts.get("ignore_case"), "ignore_case"), r.boolean(parts.get("trim"), "trim")
        for word in _STRAY[kind]:
            if word in parts:
                r.say("FR041", f"'{word}' means nothing for a {kind} lookup", parts[word], severity="lint")
        common = {"name": name, "on_miss": on_miss, "span": node.span, "ignore_case": ignore_case, "trim": trim}
        rows: dict[tuple[str, ...], str | None] = {}
        spans: dict[tuple[str, ...], Span] = {}
        if kind == "table":
            self._inline(parts["table"], rows, spans, ignore_case, trim)
            made = Lookup(kind="table", rows=rows, row_spans=spans, key_columns=("key",), **common)  # type: ignore[arg-type]
        elif kind == "file":
            file = r.text(parts["file"], "file")
            columns = self._file(name, parts, file, rows, spans, ignore_case, trim)
            answer = parts.get("return")
            made = Lookup(
                kind="file",
                file=file,
                rows=rows,
                row_spans=spans,
                key_columns=columns,
                returns=answer.text if isinstance(answer, Scalar) else None,
                **common,  # type: ignore[arg-type]
            )
        elif kind == "xref":
            made = Lookup(
                kind="xref",
                xref=r.text(parts["xref"], "xref"),
                reverse=r.boolean(parts.get("reverse"), "reverse"),
                key_columns=("id",),
                **common,  # type: ignore[arg-type]
            )
        else:
            connection = r.text(parts["connection"], "connection")
            self._live(connection, parts)
            for word in ("object", "find", "return"):
                if word not in parts:
                    r.say("FR034", f"lookup '{name}' lacks '{word}'", r.head(node), help=LOOKUP[word].doc)
            find = r.texts(parts.get("find"), "find")
            made = Lookup(
                kind="connection",
                connection=connection,
                object=r.text(parts.get("object"), "object"),
                find=find,
                key_columns=find,
                returns=r.text(parts.get("return"), "return"),
                **common,  # type: ignore[arg-type]
            )
        if on_miss is None or any(d.severity == "error" for d in r.found[before:]):
            return Lookup(name, kind, OnMiss("error"), node.span, key_columns=made.key_columns)  # named, so no cascade
        return made

    def _live(self, connection: str, parts: Mapping[str, Node]) -> None:
        """A live look-up's connection, object and fields, as far as they are known offline."""
        r, project = self.reader, self.systems.project
        if connection not in project.connections:
            help = f"flowrun.yaml has: {', '.join(project.connections) or 'none'}"
            r.say_unknown(
                "FR151",
                f"no connection is named '{connection}'",
                parts["connection"],
                connection,
                project.connections,
                help=help,
            )
            return
        cls = self.systems.connector(connection)
        object = r.text(parts.get("object"), "object")
        if cls is None or not object:
            return
        if self.systems.info(connection, object) is None:
            known = list(cls.objects(self.systems.settings(connection)))
            help = f"it has: {', '.join(known)}"
            r.say_unknown(
                "FR159",
                f"connection '{connection}' has no object '{object}'",
                parts["object"],
                object,
                known,
                help=help,
            )
            return
        shape = self.systems.shape(connection, object)
        for word in ("find", "return") if shape is not None else ():
            for item in r.items(parts.get(word), word):
                name = item.text if isinstance(item, Scalar) else ""
                if shape is not None and name and shape.closed and name.split(".")[0] not in shape.fields:
                    guess = near(name, shape.fields)
                    label = f"did you mean '{guess}'?" if guess else ""
                    r.say("FR108", f"{object} has no field '{name}'", item, label=label, fix=r.rename(item, guess))

    def _on_miss(self, name: str, lookup: Map, node: Node | None, scope: Scope) -> OnMiss | None:
        r = self.reader
        if node is None:
            r.say(
                "FR154",
                f"lookup '{name}' does not say what a missing row means",
                r.head(lookup),
                help="on_miss: error   (or skip, or { use: VALUE, warn: true })",
            )
            return None
        if isinstance(node, Scalar):
            word = r.word(node, "on_miss", ("error", "skip"))
            return OnMiss("skip") if word == "skip" else OnMiss("error") if word else None
        parts = r.box(node, ON_MISS, "on_miss")
        if "use" not in parts:
            return None
        use: Value | None = self.values.default(parts["use"], scope, "use")
        return OnMiss("use", use, r.boolean(parts.get("warn"), "warn")) if use else None

    def _inline(
        self,
        node: Node,
        rows: dict[tuple[str, ...], str | None],
        spans: dict[tuple[str, ...], Span],
        ignore_case: bool,
        trim: bool,
    ) -> None:
        for entry in self.reader.entries(node, "'table'"):
            text = self.reader.text(entry.value, f"the value of '{entry.key.text}'")
            self._add((entry.key.text,), text, entry.key.span, rows, spans, ignore_case, trim)

    def _file(
        self,
        name: str,
        parts: Mapping[str, Node],
        file: str,
        rows: dict[tuple[str, ...], str | None],
        spans: dict[tuple[str, ...], Span],
        ignore_case: bool,
        trim: bool,
    ) -> tuple[str, ...]:
        r = self.reader
        table = self.tables.get(file)
        find = r.texts(parts.get("find"), "find")
        returns = r.text(parts.get("return"), "return")
        for word in ("find", "return"):
            if word not in parts:
                r.say("FR034", f"lookup '{name}' lacks '{word}'", parts["file"], help=LOOKUP[word].doc)
        if isinstance(table, str):
            r.say("FR155", table, parts["file"])
            return find
        good = True
        for column, node in [*((c, parts["find"]) for c in find), *(((returns, parts["return"]),) if returns else ())]:
            if column not in table.columns:
                help = f"it has: {', '.join(table.columns)}"
                r.say_unknown("FR156", f"{file} has no column '{column}'", node, column, table.columns, help=help)
                good = False
        if not good or not find or not returns:
            return find
        places = [table.columns.index(column) for column in find]
        answer = table.columns.index(returns)
        for cells, line in table.rows:
            span = Span(file, line, 1, line, 1 + len(cells[0]))
            self._add(tuple(cells[p] for p in places), cells[answer], span, rows, spans, ignore_case, trim)
        return find

    def _add(
        self,
        key: tuple[str, ...],
        value: str,
        span: Span,
        rows: dict[tuple[str, ...], str | None],
        spans: dict[tuple[str, ...], Span],
        ignore_case: bool,
        trim: bool,
    ) -> None:
        key = normal(key, ignore_case, trim)
        if key in rows:
            self.reader.say(
                "FR157",
                f"the key {', '.join(map(repr, key))} stands twice",
                span,
                help="keep one row",
                related=(("first here", spans[key]),),
            )
            return
        rows[key] = value
        spans[key] = span


def normal(key: tuple[str, ...], ignore_case: bool, trim: bool) -> tuple[str, ...]:
    """A key as it is compared."""
    if trim:
        key = tuple(part.strip() for part in key)
    return tuple(part.casefold() for part in key) if ignore_case else key


_STRAY = {
    "file": ("table", "xref", "reverse", "object"),
    "table": ("find", "return", "reverse", "object"),
    "xref": ("find", "return", "object", "ignore_case", "trim"),
    "connection": ("reverse", "table"),
}
