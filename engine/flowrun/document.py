"""parse: YAML text → nodes that know their place. A scalar keeps its text; whoever reads it decides its type.

YAML's events come from PyYAML (libyaml where it is there); the tree is built here, without recursion, so that neither
depth nor aliases can hurt. Refused with a reason: anchors, aliases, tags, merge keys, duplicate keys, several
documents, more than 1 MB, more than 64 levels.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from flowrun.diagnostics import Diagnostic, Fix, Span
from flowrun.errors import InvalidFlow

MAX_CHARACTERS = 1_000_000
MAX_DEPTH = 64
MAX_SCALAR = 100_000  # characters of one value

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True, eq=False)
class Node:
    span: Span


@dataclass(slots=True, eq=False)
class Scalar(Node):
    """style: "" plain, "'" or '"' quoted, "|" or ">" block."""

    text: str
    style: str = ""

    @property
    def plain(self) -> bool:
        return self.style == ""

    @property
    def is_null(self) -> bool:
        return self.plain and self.text in ("", "~", "null", "Null", "NULL")


@dataclass(slots=True, eq=False)
class Entry:
    key: Scalar
    value: Node


@dataclass(slots=True, eq=False)
class Map(Node):
    entries: list[Entry] = field(default_factory=list)
    _index: dict[str, Entry] = field(default_factory=dict)

    def get(self, name: str) -> Node | None:
        for entry in self.entries:
            if entry.key.text == name:
                return entry.value
        return None

    def entry(self, name: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.key.text == name), None)

    def index(self) -> dict[str, Entry]:
        """Entries by key, for large maps (inline tables): kept up to date as entries are added."""
        for entry in self.entries[len(self._index) :]:
            self._index[entry.key.text] = entry
        return self._index

    def keys(self) -> list[str]:
        return [entry.key.text for entry in self.entries]


@dataclass(slots=True, eq=False)
class Seq(Node):
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Document:
    """root is None when the text is empty. problems: what is wrong with the YAML, in file order."""

    file: str
    text: str
    root: Node | None
    problems: list[Diagnostic]
    _starts: list[int]

    def span(self, start: int, end: int) -> Span:
        """The span of characters [start, end) of the text."""
        line, column = self.place(start)
        end_line, end_column = self.place(end)
        return Span(self.file, line, column, end_line, end_column, start, end)

    def place(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def line(self, number: int) -> str:
        start = self._starts[number - 1]
        end = self._starts[number] if number < len(self._starts) else len(self.text)
        return self.text[start:end].rstrip("\r\n")

    def inside(self, node: Scalar, offset: int, length: int) -> Span:
        """The span of ``length`` characters at ``offset`` of the scalar's value; the whole scalar where escapes or
        folding make counting uncertain. length 0: to the end of the value."""
        length = length or max(1, len(node.text) - offset)
        raw = self.text[node.span.start : node.span.end]
        if node.style == "" and raw == node.text:
            return self.span(node.span.start + offset, node.span.start + offset + length)
        if node.style in ("'", '"') and raw[1:-1] == node.text:
            return self.span(node.span.start + 1 + offset, node.span.start + 1 + offset + length)
        if node.style == "|":
            at = self._inside_block(node, raw, offset)
            if at is not None:
                return self.span(at, at + length)
        return node.span

    def _inside_block(self, node: Scalar, raw: str, offset: int) -> int | None:
        before = node.text[:offset]
        row, column = before.count("\n"), offset - (before.rfind("\n") + 1)
        lines = raw.split("\n")[1:]
        wanted = node.text.split("\n")
        if row >= len(lines) or row >= len(wanted):
            return None
        line = lines[row]
        if not line.endswith(wanted[row]):
            return None
        indent = len(line) - len(wanted[row])
        return node.span.start + len(raw.split("\n")[0]) + 1 + sum(len(x) + 1 for x in lines[:row]) + indent + column


def walk(node: Node | None) -> Iterator[Node]:
    """Every node of the tree, parents first, in file order."""
    stack = [node] if node is not None else []
    while stack:
        current = stack.pop()
        yield current
        if isinstance(current, Map):
            for entry in reversed(current.entries):
                stack.append(entry.value)
                stack.append(entry.key)
        elif isinstance(current, Seq):
            stack.extend(reversed(current.items))


def parse(text: str, file: str) -> Document:
    """The document, with ``problems`` filled; never raises for what an author can write."""
    starts = [0, *(m.end() for m in re.finditer(r"\r\n|\r|\n", text))]
    document = Document(file, text, None, [], starts)
    if len(text) > MAX_CHARACTERS:
        document.problems.append(
            Diagnostic(
                "FR001",
                f"the file has {len(text):,} characters; {MAX_CHARACTERS:,} are the most",
                document.span(0, 0),
                help="split it: one flow a file, tables in lookups/",
            )
        )
        return document
    bad = _CONTROL.search(text)
    if bad:
        document.problems.append(
            Diagnostic(
                "FR002",
                f"the file holds a character that no text has (U+{ord(bad.group()):04X})",
                document.span(bad.start(), bad.end()),
                help="save the file as UTF-8 text",
            )
        )
        return document
    try:
        _build(document)
    except yaml.YAMLError as error:
        document.problems.append(_translate(document, error))
        document.root = None
    document.problems.sort(key=lambda d: d.span.start)
    return document


def load(text: str, file: str) -> Document:
    """Like parse, but raises InvalidFlow when there are problems."""
    document = parse(text, file)
    if document.problems:
        raise InvalidFlow(document.problems)
    return document


_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ufffe\uffff\ud800-\udfff]")


class _Stop(yaml.YAMLError):
    """A refusal of ours, raised out of the event loop."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        self.diagnostic = diagnostic


def _build(document: Document) -> None:
    stack: list[tuple[Node, Scalar | None]] = []  # open containers, each with the key that waits for its value
    pending: list[Scalar | None] = []
    documents = 0
    shift = 1 if document.text.startswith("\ufeff") else 0
    events: Any = yaml.parse(document.text, Loader=_Loader)
    for event in events:
        start = event.start_mark.index + (shift if event.start_mark.index else 0)
        end = event.end_mark.index + (shift if event.end_mark.index else 0)
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _Stop(
                    Diagnostic(
                        "FR003",
                        "a second document begins here",
                        document.span(start, end),
                        help="one flow a file: move it into its own",
                    )
                )
            continue
        if isinstance(event, yaml.AliasEvent):
            raise _Stop(
                Diagnostic(
                    "FR004",
                    "aliases are not part of the language",
                    document.span(start, end),
                    help="an unquoted * begins an alias: quote the text, or use a fragment",
                )
            )
        if isinstance(event, yaml.NodeEvent):
            if event.anchor is not None:
                raise _Stop(
                    Diagnostic(
                        "FR004",
                        "anchors are not part of the language",
                        document.span(start, end),
                        help="an unquoted & begins an anchor: quote the text, or use a fragment",
                    )
                )
            tag = getattr(event, "tag", None)
            if tag is not None and tag != "!":
                raise _Stop(
                    Diagnostic(
                        "FR004",
                        "tags (!…) are not part of the language",
                        document.span(start, end),
                        help="quote the text",
                    )
                )
        if isinstance(event, yaml.ScalarEvent):
            if len(event.value) > MAX_SCALAR:
                raise _Stop(
                    Diagnostic(
                        "FR001",
                        f"a value of {len(event.value):,} characters; {MAX_SCALAR:,} are the most",
                        document.span(start, start),
                    )
                )
            begin: Any = event.start_mark
            finish: Any = event.end_mark
            if event.style in ("|", ">") or shift:
                span = document.span(start, _block_end(document.text, start, end) if event.style else end)
            else:  # the marks know lines and columns already
                span = Span(
                    document.file, begin.line + 1, begin.column + 1, finish.line + 1, finish.column + 1, start, end
                )
            node: Node = Scalar(span, event.value, event.style or "")
            _attach(document, stack, pending, node)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            if len(stack) >= MAX_DEPTH:
                raise _Stop(Diagnostic("FR001", f"nested more than {MAX_DEPTH} levels deep", document.span(start, end)))
            span = document.span(start, end)
            node = Map(span) if isinstance(event, yaml.MappingStartEvent) else Seq(span)
            _attach(document, stack, pending, node)
            stack.append((node, None))
            pending.append(None)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            closed, _ = stack.pop()
            pending.pop()
            _close(document, closed, max(end, closed.span.start))


def _block_end(text: str, start: int, end: int) -> int:
    """libyaml ends a block scalar where the next token starts; the last line with text is its end."""
    return start + len(text[start:end].rstrip())


def _close(document: Document, node: Node, end: int) -> None:
    """Set where a container ends. libyaml ends a block one where the next token starts; its last child is its end."""
    begin = node.span
    if document.text[begin.start : begin.start + 1] in ("{", "["):
        node.span = document.span(begin.start, end)
        return
    last: Node | None = None
    if isinstance(node, Map) and node.entries:
        last = node.entries[-1].value
        if last.span.end < node.entries[-1].key.span.end:
            last = node.entries[-1].key
    elif isinstance(node, Seq) and node.items:
        last = node.items[-1]
    if last is not None:
        node.span = Span(
            begin.file, begin.line, begin.column, last.span.end_line, last.span.end_column, begin.start, last.span.end
        )


def _attach(document: Document, stack: list[Any], pending: list[Scalar | None], node: Node) -> None:
    if not stack:
        document.root = node
        return
    parent = stack[-1][0]
    if isinstance(parent, Seq):
        parent.items.append(node)
        return
    key = pending[-1]
    if key is None:
        if not isinstance(node, Scalar):
            raise _Stop(
                Diagnostic(
                    "FR005",
                    "a key must be a word, not a list or an object",
                    node.span,
                    help='{{ … }} needs quotes: "{{ order.id }}"',
                )
            )
        if node.text == "<<" and node.plain:
            raise _Stop(
                Diagnostic("FR004", "merge keys (<<) are not part of the language", node.span, help="use a fragment")
            )
        pending[-1] = node
        return
    pending[-1] = None
    first = parent.entry(key.text) if len(parent.entries) < 50 else parent.index().get(key.text)
    if first is not None:
        document.problems.append(
            Diagnostic(
                "FR006",
                f"'{key.text}' stands here twice",
                key.span,
                help="keep one of them",
                related=(("first here", first.key.span),),
            )
        )
        return
    parent.entries.append(Entry(key, node))


def _translate(document: Document, error: yaml.YAMLError) -> Diagnostic:
    """YAML's complaint as what an analyst can do about it."""
    if isinstance(error, _Stop):
        return error.diagnostic
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = str(getattr(error, "problem", "") or getattr(error, "reason", "") or error)
    if mark is None:
        return Diagnostic("FR010", f"not YAML: {problem}", document.span(0, 0))
    offset = min(mark.index, len(document.text))
    line_number = min(mark.line + 1, len(document._starts))
    line = document.line(line_number)
    span = document.span(offset, min(offset + 1, len(document.text)))
    context_mark = getattr(error, "context_mark", None)
    if "\t" in line[: len(line) - len(line.lstrip())] or (problem.startswith("found character") and "\\t" in problem):
        start = document._starts[line_number - 1] + line.index("\t")
        return Diagnostic(
            "FR011",
            "a tab is no indentation in YAML",
            document.span(start, start + 1),
            help="use spaces",
            fix=Fix(start, start + 1, "  "),
        )
    for number in (line_number, line_number - 1):
        if number < 1:
            continue
        text = document.line(number)
        start = document._starts[number - 1]
        found = re.search(r"(?::|-)\s+(\{\{.*)$", text) or re.search(r"(?::|-)\s+(\{%.*)$", text)
        if found:
            return Diagnostic(
                "FR012",
                "a template must be quoted",
                document.span(start + found.start(1), start + len(text)),
                help='write "{{ … }}" in quotes',
            )
        found = re.search(r":\s+([@`%].*)$", text)
        if found:
            return Diagnostic(
                "FR013",
                f"a value may not start with {found.group(1)[0]} unquoted",
                document.span(start + found.start(1), start + len(text)),
                help="put it in quotes",
            )
        found = re.search(r"^\s*(?:- )?[^'\"#\[{]*?:\s+([^'\"\[{|>#&*!\s][^'\"#]*?:\s.*)$", text)
        if found and "mapping values are not allowed" in problem:
            return Diagnostic(
                "FR014",
                "a value with ': ' in it must be quoted",
                document.span(start + found.start(1), start + len(text)),
                help="put it in quotes",
            )
        found = re.search(r"^\s*(?:- )?[\w.]+:\s+((['\"]).*?\2\s*[^\s#,}\]].*)$", text)
        if found and "expected <block end>" in problem:
            return Diagnostic(
                "FR015",
                "text goes on after the closing quote",
                document.span(start + found.start(1), start + len(text)),
                help="quote the whole value",
            )
    if "could not find expected ':'" in problem:
        at = context_mark.index if context_mark is not None else offset
        return Diagnostic(
            "FR016", "a line without ':' (key: value)", document.span(at, at + 1), help="write key: value"
        )
    if "flow" in problem or "',' or" in problem or "while parsing a flow" in str(getattr(error, "context", "")):
        at = context_mark.index if context_mark is not None else offset
        shown = document.text[at : at + 1]
        return Diagnostic(
            "FR017",
            f"'{shown}' is not closed, or a comma is missing",
            span,
            label="YAML stops here",
            help=f"close the '{shown}'; quote a value that holds [ ] {{ }} or ,",
            related=(("opened here", document.span(at, at + 1)),),
        )
    if "quoted scalar" in problem or "quoted scalar" in str(getattr(error, "context", "")):
        at = context_mark.index if context_mark is not None else offset
        return Diagnostic("FR018", "a quote is not closed", document.span(at, at + 1), help="close it on the same line")
    if "mapping values are not allowed" in problem:
        return Diagnostic(
            "FR019",
            "a ':' that YAML does not expect here",
            span,
            help="is the line above complete, and the indentation the same?",
        )
    if "expected <block end>" in problem or "did not find expected" in problem:
        return Diagnostic(
            "FR019",
            "this line does not line up with the ones above",
            span,
            help="entries of one block start in the same column",
        )
    return Diagnostic("FR010", f"not YAML: {problem}", span, help="put the value in quotes")
