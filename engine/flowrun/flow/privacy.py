"""``privacy:`` of a flow and of flowrun.yaml: fields of records that are not shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from flowrun.document import Node
from flowrun.flow import words
from flowrun.flow.reading import Reader, Scope

_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*|\[\])*")
_STEP = re.compile(r"[^.\[\]]+|\[\]")
Path = tuple[str, ...]


def read_mask(r: Reader, node: Node | None, record: str, scope: Scope) -> tuple[Path, ...]:
    """Paths from the record down, each a field that the source has. record: its name, before each."""
    found = []
    for item, text in _paths(r, node):
        name, *rest = _STEP.findall(text)
        if not rest or name != record:
            message = f"what is masked is a field of the record: {record}.FIELD"
            r.say("FR210", message, item, help=f"mask: [{record}.{text}]")
        elif r.expression(item, "jmespath", {record: scope[record]} if record in scope else scope, "mask") is not None:
            found.append(tuple(rest))
    return tuple(found)


def read_project_mask(r: Reader, node: Node | None) -> None:
    """Only the form: which flow has such a field is the flows' matter."""
    for _ in _paths(r, node):
        pass


def project_mask(texts: Iterable[str], grouped: bool) -> Iterator[Path]:
    for text in texts:
        path = tuple(_STEP.findall(text))
        yield ("rows", "[]", *path) if grouped else path


def _paths(r: Reader, node: Node | None) -> Iterator[tuple[Node, str]]:
    if node is None:
        return
    parts = r.box(node, words.PRIVACY, "privacy")
    for item in r.items(parts.get("mask"), "mask"):
        text = r.text(item, "mask")
        if text and not _PATH.fullmatch(text):
            help = "names and dots, [] for each row of a list: items[].note"
            r.say("FR210", f"'{text}' is no path to a field", item, help=help)
        elif text:
            yield item, text
