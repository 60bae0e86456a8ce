"""What lies behind a difference: the first thing that the explanations of both versions see differently."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from flowrun.diagnostics import Span
from flowrun.flow.model import Lookup
from flowrun.plan.explain import Explanation, Why

_LOOKUP = re.compile(r"lookup (\w+): (.+?) → (.+?)(?:   \((.+:\d+)\))?")
_MISSED = re.compile(r"lookup (\w+): no row for (.+); on_miss: (\w+)")
_READ = re.compile(r"read ((?:vars|env)\.\w+)\S* = (.*)")
_RULE = re.compile(r"(\w+) = (true|false) \((.*)\)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Cause:
    """kind: ``lookup row``, ``lookup``, ``rule``, ``env``, ``variable``, ``mapping``, ``added``, ``removed``, or
    ``elsewhere``: the mapping's own text is the same, so a contract or what a fragment is given differs.

    what: its name.

    old, new: the row's answer, or the text in both versions. old_place, new_place: ``file:line``.
    """

    kind: str
    what: str
    old: str = ""
    new: str = ""
    old_place: str = ""
    new_place: str = ""


class Texts:
    """The lines of a version's files. root: where they lie."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lines: dict[str, list[str]] = {}

    def block(self, span: Span) -> list[tuple[int, str]]:
        """(line number, text) of what begins on the span's line: it, and the deeper ones below; comments dropped."""
        lines = self._of(span.file)
        if not 0 < span.line <= len(lines):
            return []
        first = lines[span.line - 1]
        margin = _indent(first)
        found = [(span.line, _bare(first))]
        for number, line in enumerate(lines[span.line :], span.line + 1):
            if line.strip() and _indent(line) <= margin:
                break
            if _bare(line):
                found.append((number, _bare(line)))
        return found

    def _of(self, file: str) -> list[str]:
        if file not in self._lines:
            try:
                self._lines[file] = (self._root / file).read_text(encoding="utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError):
                self._lines[file] = []
        return self._lines[file]


def _indent(line: str) -> int:
    """Of a YAML line; the dash of a list counts as indent."""
    return len(line) - len(line.lstrip(" -"))


def _bare(line: str) -> str:
    return re.sub(r"\s#\s.*$", "", line).strip()


@dataclass(frozen=True, slots=True)
class Seen:
    """One version's explanation of one record, by target path; requirements as ``require[0]``, ``require[1]``, …"""

    whys: dict[str, Why]
    texts: Texts
    lookups: Mapping[str, Lookup]

    @classmethod
    def of(cls, explanation: Explanation, texts: Texts, lookups: Mapping[str, Lookup]) -> Seen:
        whys: dict[str, Why] = {}
        for why in explanation.fields:
            many = why.path == "require"
            whys[f"require[{sum(name.startswith('require[') for name in whys)}]" if many else why.path] = why
        return cls(whys, texts, lookups)

    def around(self, path: str) -> Iterator[str]:
        """The path and those around it, nearest first, that are explained."""
        while path:
            if path in self.whys:
                yield path
            cut = max(path.rfind("."), path.rfind("["))
            path = path[:cut] if cut > 0 else ""


def cause_of(path: str, old: Seen, new: Seen) -> Cause:
    """Why the field differs."""
    if path in old.whys and path in new.whys:
        return _between(path, old, new)
    around_old, around_new = set(old.around(path)), list(new.around(path))
    for both in (one for one in around_new if one in around_old):
        if _unlike(old.whys[both], new.whys[both]):
            return _between(both, old, new)
    if path in new.whys:
        return Cause("added", path, "", _first(new, path), "", _place(new.whys[path].span))
    if path in old.whys:
        return Cause("removed", path, _first(old, path), "", _place(old.whys[path].span), "")
    both = next((one for one in around_new if one in around_old), "")
    return _between(both, old, new) if both else Cause("mapping", path)


def text_cause(what: str, old: Span | None, new: Span | None, old_texts: Texts, new_texts: Texts) -> Cause:
    """Of a part of the flow that has no explanation: the texts themselves."""
    old_block = old_texts.block(old) if old is not None else []
    new_block = new_texts.block(new) if new is not None else []
    return _texts(what, old_block, new_block, old.file if old else "", new.file if new else "")


def _between(path: str, old: Seen, new: Seen) -> Cause:
    found = _differing(path, old, new)
    if found is not None:
        return found
    one, other = old.whys[path].span, new.whys[path].span
    return _texts(path, old.texts.block(one), new.texts.block(other), one.file, other.file)


def _texts(what: str, old: list[tuple[int, str]], new: list[tuple[int, str]], old_file: str, new_file: str) -> Cause:
    """The first line that differs."""
    for index in range(max(len(old), len(new))):
        one = old[index] if index < len(old) else None
        other = new[index] if index < len(new) else None
        if (one and one[1]) != (other and other[1]):
            return Cause(
                "mapping", what, one[1] if one else "", other[1] if other else "",
                f"{old_file}:{one[0]}" if one else "", f"{new_file}:{other[0]}" if other else "",
            )  # fmt: skip
    here = (f"{old_file}:{old[0][0]}" if old else "", f"{new_file}:{new[0][0]}" if new else "")
    return Cause("elsewhere", what, "", "", *here)


def _differing(path: str, old: Seen, new: Seen, passed: frozenset[str] = frozenset()) -> Cause | None:
    """The cause behind the first pair of steps that differ, where that is not this mapping's own text; else None."""
    if path in passed or path not in old.whys or path not in new.whys:
        return None
    for a, b in zip(_told(old.whys[path].steps), _told(new.whys[path].steps), strict=False):
        if a == b:
            continue
        found = _row(a, b, old, new) or _named(a, b, old, new, passed | {path})
        if found is not None:
            return found
        if not _same_answer(a, b):
            return None
    return None


def _unlike(old: Why, new: Why) -> bool:
    """Whether both saw or did anything differently."""
    one, other = _told(old.steps), _told(new.steps)
    return len(one) != len(other) or any(a != b and not _same_answer(a, b) for a, b in zip(one, other, strict=True))


def _told(steps: list[str]) -> list[str]:
    """Each once: a rule that is asked twice is told twice."""
    return list(dict.fromkeys(steps))


def _same_answer(a: str, b: str) -> bool:
    """A rule that was written anew and a row that moved are no cause where they answer as before."""
    for form, parts in ((_RULE, (1, 2)), (_LOOKUP, (1, 2, 3))):
        one, other = form.fullmatch(a), form.fullmatch(b)
        if one is not None and other is not None and one.group(*parts) == other.group(*parts):
            return True
    return False


def _row(a: str, b: str, old: Seen, new: Seen) -> Cause | None:
    """The same lookup and key, another answer."""
    rows = []
    for step in (a, b):
        hit, miss = _LOOKUP.fullmatch(step), _MISSED.fullmatch(step)
        if hit is not None:
            rows.append((hit.group(1), hit.group(2), hit.group(3), hit.group(4) or ""))
        elif miss is not None:
            rows.append((miss.group(1), miss.group(2), f"no row, on_miss: {miss.group(3)}", ""))
    if len(rows) != 2 or rows[0][:2] != rows[1][:2]:
        return None
    (name, key, answer, place), (_, _, answer_now, place_now) = rows
    if answer == answer_now:
        return None
    if answer.startswith("no row") and answer_now.startswith("no row"):
        one, other = old.lookups[name].span, new.lookups[name].span
        found = _texts(name, old.texts.block(one), new.texts.block(other), one.file, other.file)
        return replace(found, kind="lookup")
    return Cause("lookup row", f"{name} {key}", answer, answer_now, place, place_now)


def _named(a: str, b: str, old: Seen, new: Seen, passed: frozenset[str]) -> Cause | None:
    """A variable, an environment's value, or a rule that both read."""
    one, other = _READ.fullmatch(a), _READ.fullmatch(b)
    if one is not None and other is not None and one.group(1) == other.group(1):
        name = one.group(1)
        if name.startswith("env."):
            return Cause("env", name, one.group(2), other.group(2))
        return _of_name(name, old, new, passed)
    rule, rule_now = _RULE.fullmatch(a), _RULE.fullmatch(b)
    if rule is None or rule_now is None or rule.group(1) != rule_now.group(1) or rule.group(2) == rule_now.group(2):
        return None
    return _of_name(rule.group(1), old, new, passed)


def _of_name(name: str, old: Seen, new: Seen, passed: frozenset[str]) -> Cause | None:
    if name not in old.whys or name not in new.whys:
        return None
    deeper = _differing(name, old, new, passed)
    if deeper is not None:
        return deeper
    one, other = old.whys[name].span, new.whys[name].span
    found = _texts(name, old.texts.block(one), new.texts.block(other), one.file, other.file)
    kind = "variable" if name.startswith("vars.") else "rule"
    return replace(found, kind=kind)


def _first(seen: Seen, path: str) -> str:
    block = seen.texts.block(seen.whys[path].span)
    return block[0][1] if block else ""


def _place(span: Span) -> str:
    return f"{span.file}:{span.line}"
