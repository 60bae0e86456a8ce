"""parse: YAML text → nodes that know their place. A scalar keeps its text; whoever reads it decides its type.

YAML's events come from PyYAML (libyaml where it is there); the tree is built here, without recursion, so that neither
depth nor aliases can hurt. Refused with a reason: anchors, aliases, tags, merge keys, duplicate keys, several
documents, more than 1 MB, more than 64 levels.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from flowrun.diagnostics import Diagnostic, Fix
from flowrun.document.nodes import Document, Entry, Map, Node, Scalar, Seq, walk
from flowrun.errors import InvalidFlow

__all__ = ["Document", "Entry", "Map", "Node", "Scalar", "Seq", "load", "parse", "walk"]

MAX_CHARACTERS = 1_000_000
MAX_DEPTH = 64
MAX_SCALAR = 100_000  # characters of one value

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_HASH = re.compile(r" #(?=[^\s#!])(?!#flowrun:)")
# \x85, \u2028 and \u2029 too: libyaml (YAML 1.1) would silently read them as line breaks
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f\u2028\u2029\ufffe\uffff\ud800-\udfff]")


def parse(text: str, file: str) -> Document:
    """The document, with ``problems`` filled; never raises for what an author can write. A byte order mark is dropped:
    offsets count from the character after it."""
    document = Document(file, text.removeprefix("\ufeff"))
    problem = _refused(document)
    if problem is None:
        try:
            _build(document)
        except _Stop as stop:
            problem = stop.diagnostic
        except (yaml.YAMLError, RecursionError) as error:
            from flowrun.document.yaml_errors import translate  # only for files that are no YAML: start-up time

            problem = translate(document, error)
    if problem is not None:
        document.root = None
        document.problems.append(problem)
    document.problems.sort(key=lambda d: d.span.start)
    return document


def load(text: str, file: str) -> Document:
    """Like parse, but raises InvalidFlow when something is wrong (lints do not count)."""
    document = parse(text, file)
    if any(problem.severity == "error" for problem in document.problems):
        raise InvalidFlow(document.problems)
    return document


def _refused(document: Document) -> Diagnostic | None:
    text = document.text
    if len(text) > MAX_CHARACTERS:
        return Diagnostic(
            "FR001",
            f"the file has {len(text):,} characters; {MAX_CHARACTERS:,} are the most",
            document.span(0, 0),
            help="split it: one flow a file, tables in lookups/",
        )
    bad = _CONTROL.search(text)
    if bad is not None:
        return Diagnostic(
            "FR002",
            f"the file holds a character that no text has (U+{ord(bad.group()):04X})",
            document.span(bad.start(), bad.end()),
            help="save the file as UTF-8 text",
        )
    return None


class _Stop(Exception):
    """A refusal of ours, raised out of the event loop."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        self.diagnostic = diagnostic


def _stop(document: Document, code: str, message: str, start: int, end: int, help: str = "") -> _Stop:
    return _Stop(Diagnostic(code, message, document.span(start, end), help=help))


def _build(document: Document) -> None:
    """Fill ``root`` from YAML's events. One long loop, since a thousand flows are a third of a million events."""
    open_nodes: list[Map | Seq] = []
    keys: list[Scalar | None] = []  # per open node, the key that waits for its value
    cut: list[Map | Seq] = []  # { } and [ ] in which a ',' may have cut a value in two
    text = document.text
    hashes = {match.start() for match in _HASH.finditer(text) if not text[match.start() - 1].isspace()}
    loader = _Loader(text)
    get_event = loader.get_event
    documents = 0
    try:
        while loader.check_event():
            event = get_event()
            kind = type(event)
            if kind is _SCALAR:
                start, end, value, style = event.start_mark.index, event.end_mark.index, event.value, event.style
                if event.anchor is not None or event.tag is not None:
                    raise _decorated(document, event)
                if style == "|" or style == ">":  # libyaml ends a block where the next token starts
                    end = start + len(text[start:end].rstrip())
                elif hashes and end in hashes and not style:
                    document.problems.append(_hash(document, end))
                if style == '"' and _CONTROL.search(value):
                    message = "the value holds a character that no text has, written as an escape"
                    raise _stop(document, "FR002", message, start, end)
                if len(value) > MAX_SCALAR:
                    message = f"a value of {len(value):,} characters; {MAX_SCALAR:,} are the most"
                    raise _stop(document, "FR001", message, start, start + 1)
                node: Node = Scalar(document, start, end, value, style or "")
            elif kind is _MAP or kind is _SEQ:
                start = event.start_mark.index
                if event.anchor is not None or event.tag is not None:
                    raise _decorated(document, event)
                if len(open_nodes) >= MAX_DEPTH:
                    raise _stop(document, "FR001", f"nested more than {MAX_DEPTH} levels deep", start, start + 1)
                node = Map(document, start, start) if kind is _MAP else Seq(document, start, start)
            elif kind is _MAP_END or kind is _SEQ_END:
                keys.pop()
                _close(open_nodes.pop(), event.end_mark.index)
                continue
            elif kind is yaml.AliasEvent:
                help = "an unquoted * begins an alias: quote the text, or use a fragment"
                start, end = event.start_mark.index, event.end_mark.index
                raise _stop(document, "FR004", "aliases are not part of the language", start, end, help)
            elif kind is yaml.DocumentStartEvent:
                documents += 1
                if documents > 1:
                    start, end = event.start_mark.index, event.end_mark.index
                    help = "one flow a file: move it into its own"
                    raise _stop(document, "FR003", "a second document begins here", start, end, help)
                continue
            else:
                continue
            if not open_nodes:
                document.root = node
            else:
                parent = open_nodes[-1]
                if type(parent) is Map:
                    key = keys[-1]
                    if key is None:
                        keys[-1] = _key(document, node)
                        continue
                    keys[-1] = None
                    if kind is _SCALAR and start == end and not style and text[parent.start : parent.start + 1] == "{":
                        cut.append(parent)
                    first = parent.index.get(key.text)
                    if first is not None:
                        document.problems.append(_twice(key, first))
                    else:
                        parent.index[key.text] = entry = Entry(key, node)
                        parent.entries.append(entry)
                elif type(parent) is Seq:
                    parent.items.append(node)
                    if kind is _SCALAR and "(" in value and text[parent.start : parent.start + 1] == "[":
                        cut.append(parent)
            if kind is not _SCALAR:
                open_nodes.append(node)  # type: ignore[arg-type]
                keys.append(None)
    finally:
        loader.dispose()
    for container in dict.fromkeys(cut):
        if isinstance(container, Map):
            _mend_map(document, container)
        else:
            _mend_seq(document, container)


_SCALAR, _MAP, _SEQ = yaml.ScalarEvent, yaml.MappingStartEvent, yaml.SequenceStartEvent
_MAP_END, _SEQ_END = yaml.MappingEndEvent, yaml.SequenceEndEvent


def _decorated(document: Document, event: Any) -> _Stop:
    start, end = event.start_mark.index, event.end_mark.index
    if event.anchor is not None:
        help = "an unquoted & begins an anchor: quote the text, or use a fragment"
        return _stop(document, "FR004", "anchors are not part of the language", start, end, help)
    help = "an unquoted ! begins a tag: quote the text"
    return _stop(document, "FR004", "tags (!…) are not part of the language", start, end, help)


def _key(document: Document, node: Node) -> Scalar:
    if not isinstance(node, Scalar):
        if document.text.startswith("{{", node.start - 1):
            from flowrun.document.yaml_errors import unquoted_template

            raise _Stop(unquoted_template(document, node.start - 1))
        message = "a key must be a word, not a list or an object"
        raise _stop(document, "FR005", message, node.start, node.start + 1, "write NAME: value")
    if node.text == "<<" and node.style == "":
        message = "merge keys (<<) are not part of the language"
        raise _stop(document, "FR004", message, node.start, node.end, "use a fragment")
    return node


def _twice(key: Scalar, first: Entry) -> Diagnostic:
    related = (("first here", first.key.span),)
    return Diagnostic("FR006", f"'{key.text}' stands here twice", key.span, help="keep one of them", related=related)


def _hash(document: Document, end: int) -> Diagnostic:
    return Diagnostic(
        "FR008",
        "the rest of the line is a comment, since ' #' begins one",
        document.span(end + 1, end + 2),
        "lint",
        help="quote the value if the # belongs to it; write '# ' for a comment",
    )


def _close(node: Map | Seq, end: int) -> None:
    """Set where a container ends. libyaml ends a block one where the next token starts; its last child is its end."""
    if node.document.text[node.start : node.start + 1] in ("{", "["):
        node.end = max(end, node.start)
    elif isinstance(node, Map) and node.entries:
        node.end = max(node.entries[-1].value.end, node.entries[-1].key.end)
    elif isinstance(node, Seq) and node.items:
        node.end = max(node.items[-1].end, node.start)


# -- values that YAML cut in two without a complaint, by a ',' inside { } or [ ]: put together again, so that what they
# -- say is checked too


def _mend_map(document: Document, node: Map) -> None:
    place = 1
    while place < len(node.entries):
        key, value = node.entries[place].key, node.entries[place].value
        before = node.entries[place - 1].value
        alone = isinstance(value, Scalar) and value.start == value.end and not value.text
        if alone and ":" not in document.text[key.end : key.end + 2] and isinstance(before, Scalar) and before.plain:
            _join(document, before, key)
            del node.entries[place]
            del node.index[key.text]
        else:
            place += 1


def _mend_seq(document: Document, node: Seq) -> None:
    place = 0
    while place < len(node.items) - 1:
        item, after = node.items[place], node.items[place + 1]
        if (
            isinstance(item, Scalar)
            and item.plain
            and item.text.count("(") > item.text.count(")")
            and isinstance(after, Scalar)
            and any(isinstance(rest, Scalar) and rest.text.count(")") for rest in node.items[place + 1 :])
        ):
            _join(document, item, after)
            del node.items[place + 1]
        else:
            place += 1


def _join(document: Document, value: Scalar, rest: Scalar) -> None:
    """``value`` takes in what stands up to the end of ``rest``."""
    value.end = rest.end
    value.text = document.text[value.start : value.end]
    problems = [p for p in document.problems if p.code == "FR007" and p.span.start >= value.start]
    for one in problems:  # one message for a value that is cut more than once
        document.problems.remove(one)
    quoted = f'"{value.text}"' if '"' not in value.text else "'" + value.text.replace("'", "''") + "'"
    document.problems.append(
        Diagnostic(
            "FR007",
            "inside { } and [ ] a ',' ends an unquoted value",
            value.span,
            help="put the whole value in quotes",
            fix=Fix(value.start, value.end, quoted),
        )
    )
