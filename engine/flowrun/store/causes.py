"""Dead letters that died of the same: one cause has one id, whatever the keys, values and numbers of its letters.

Pure: rows in, clusters out. The id depends only on flow, class, field and words, so that it is the same tomorrow and on
another machine.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from flowrun.store.rows import Row

_ID_LENGTH = 8  # hex digits: ten thousand causes of one project share none, as good as surely
# A quoted name of something in the project tells causes apart; any other quoted text is a value of one record.
_QUOTED = re.compile(
    r"(?P<word>\b(?:lookup|connection|converter|rule|object|xref|environment) )?(?P<text>'[^']*'|\"[^\"]*\")"
)
_WITH_DIGIT = re.compile(r"[^\s'\"(),;:=]*\d[^\s'\"(),;=]*")
_INDEX = re.compile(r"\[\d+\]")


@dataclass(slots=True)
class Cluster:
    """path: of the field, without row numbers. words: the message without what differs. rows: in order of arrival;
    first_at, last_at: when they failed."""

    id: str
    flow: str
    error_class: str
    path: str
    words: str
    rows: list[Row] = field(default_factory=list)

    @property
    def first_at(self) -> float:
        return min(row.changed_at for row in self.rows)

    @property
    def last_at(self) -> float:
        return max(row.changed_at for row in self.rows)

    @property
    def example(self) -> Row:
        return self.rows[0]


def clusters(rows: Iterable[Row]) -> list[Cluster]:
    """The largest first; of equal ones the older."""
    found: dict[str, Cluster] = {}
    for row in rows:
        id_ = cause_id(row)
        if id_ not in found:
            found[id_] = Cluster(id_, row.flow, row.error_class or "", _place(row), _words(row))
        found[id_].rows.append(row)
    return sorted(found.values(), key=lambda one: (-len(one.rows), one.example.seq))


def cause_id(row: Row) -> str:
    parts = "\0".join((row.flow, row.error_class or "", _place(row), _words(row)))
    return hashlib.sha256(parts.encode()).hexdigest()[:_ID_LENGTH]


def _place(row: Row) -> str:
    return _INDEX.sub("[]", row.error_field or "")


def _words(row: Row) -> str:
    text = row.error_message or ""
    if row.key:
        text = re.sub(rf"(?<!\w){re.escape(row.key)}(?!\w)", "…", text)
    text = _QUOTED.sub(lambda found: found.group(0) if found.group("word") else "'…'", text)
    return _WITH_DIGIT.sub("…", text)
