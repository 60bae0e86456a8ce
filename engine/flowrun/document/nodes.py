"""Document and its nodes: text with places. Offsets are characters; lines and columns are counted only when asked."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

from flowrun.diagnostics import Diagnostic, Span

_BREAK = re.compile(r"\r\n|\r|\n")


class Document:
    """A text and its tree. root is None when the text is empty or not YAML. problems: what is wrong with the YAML, in
    file order."""

    __slots__ = ("_starts", "file", "problems", "root", "text")

    def __init__(self, file: str, text: str, root: Node | None = None) -> None:
        self.file = file
        self.text = text
        self.root = root
        self.problems: list[Diagnostic] = []
        self._starts: list[int] | None = None

    @property
    def broken(self) -> bool:
        """Whether there is no tree to check. Other problems (a key twice, a cut value) leave the rest readable."""
        return self.root is None and bool(self.problems)

    @property
    def starts(self) -> list[int]:
        """Where each line starts."""
        if self._starts is None:
            self._starts = [0, *(m.end() for m in _BREAK.finditer(self.text))]
        return self._starts

    def span(self, start: int, end: int) -> Span:
        """The span of characters [start, end) of the text."""
        line, column = self.place(start)
        end_line, end_column = self.place(end)
        return Span(self.file, line, column, end_line, end_column, start, end)

    def place(self, offset: int) -> tuple[int, int]:
        """(line, column) of a character, both from 1."""
        starts = self.starts
        line = bisect_right(starts, offset)
        return line, offset - starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a line, without its break; "" for a line that is not there."""
        starts = self.starts
        if not 0 < number <= len(starts):
            return ""
        end = starts[number] if number < len(starts) else len(self.text)
        return self.text[starts[number - 1] : end].rstrip("\r\n")

    def offset_span(self, node: Scalar, offset: int, length: int) -> Span:
        """The span of ``length`` characters at ``offset`` of the scalar's value; the whole scalar where escapes or
        folding make counting uncertain. length 0: to the end of the value."""
        length = length or max(1, len(node.text) - offset)
        text = node.text
        raw = self.text[node.start : node.end]
        at = None
        if node.style == "" and raw == text:
            at = node.start + offset
        elif node.style in ("'", '"') and raw[1:-1] == text:
            at = node.start + 1 + offset
        elif node.style == "|":
            at = _inside_block(node, raw, offset)
        if at is None or offset > len(text):
            return node.span
        return self.span(at, max(at, min(at + length, node.end)))

    inside = offset_span


def _inside_block(node: Scalar, raw: str, offset: int) -> int | None:
    before = node.text[:offset]
    row, column = before.count("\n"), offset - (before.rfind("\n") + 1)
    lines = raw.split("\n")[1:]
    wanted = node.text.split("\n")
    if row >= len(lines) or row >= len(wanted) or not lines[row].endswith(wanted[row]):
        return None
    indent = len(lines[row]) - len(wanted[row])
    return node.start + len(raw.split("\n")[0]) + 1 + sum(len(x) + 1 for x in lines[:row]) + indent + column


class Node:
    """Characters [start, end) of a document."""

    __slots__ = ("document", "end", "start")

    def __init__(self, document: Document, start: int, end: int) -> None:
        self.document = document
        self.start = start
        self.end = end

    @property
    def span(self) -> Span:
        return self.document.span(self.start, self.end)

    @property
    def line(self) -> int:
        return self.document.place(self.start)[0]


class Scalar(Node):
    """style: "" plain, "'" or '"' quoted, "|" or ">" block."""

    __slots__ = ("style", "text")

    def __init__(self, document: Document, start: int, end: int, text: str, style: str = "") -> None:
        self.document = document
        self.start = start
        self.end = end
        self.text = text
        self.style = style

    @property
    def plain(self) -> bool:
        return self.style == ""

    @property
    def is_null(self) -> bool:
        return self.style == "" and self.text in ("", "~", "null", "Null", "NULL")


class Entry:
    __slots__ = ("key", "value")

    def __init__(self, key: Scalar, value: Node) -> None:
        self.key = key
        self.value = value


class Map(Node):
    """entries: in file order; index: the same by key. Keys are unique."""

    __slots__ = ("entries", "index")

    def __init__(self, document: Document, start: int, end: int, entries: list[Entry] | None = None) -> None:
        self.document = document
        self.start = start
        self.end = end
        self.entries: list[Entry] = entries if entries is not None else []
        self.index = {entry.key.text: entry for entry in self.entries}

    def get(self, name: str) -> Node | None:
        entry = self.index.get(name)
        return entry.value if entry is not None else None

    def entry(self, name: str) -> Entry | None:
        return self.index.get(name)

    def keys(self) -> list[str]:
        return [entry.key.text for entry in self.entries]


class Seq(Node):
    __slots__ = ("items",)

    def __init__(self, document: Document, start: int, end: int) -> None:
        self.document = document
        self.start = start
        self.end = end
        self.items: list[Node] = []


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
