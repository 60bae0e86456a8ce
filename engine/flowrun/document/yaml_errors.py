"""YAML's complaints as what an analyst can do about them. Each reader of a complaint answers None for another's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from flowrun.diagnostics import Diagnostic, Fix
from flowrun.document.nodes import Document


class Complaint:
    """problem, context: libyaml's words. at: where it gave up; since: where the construct began that it could not
    finish (both character offsets)."""

    def __init__(self, document: Document, error: Exception) -> None:
        problem_mark, context_mark = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
        mark = problem_mark or context_mark
        self.document = document
        self.text = document.text
        self.problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
        self.context = str(getattr(error, "context", None) or "")
        self.at = min(mark.index, len(document.text)) if mark is not None else 0
        self.since = min(context_mark.index, len(document.text)) if context_mark is not None else self.at
        self.row = document.place(self.at)[0]
        if self.row > 1 and not self.text[self.at :].strip():  # the end of the file: the last line with text
            self.row = document.place(max(0, len(self.text.rstrip()) - 1))[0]

    def say(
        self,
        code: str,
        message: str,
        start: int,
        end: int,
        help: str,
        fix: Fix | None = None,
        opened: int | None = None,
    ) -> Diagnostic:
        end = max(end, min(start + 1, len(self.text)))
        related = () if opened is None else (("YAML stops here", self.document.span(opened, opened)),)
        return Diagnostic(code, message, self.document.span(start, end), help=help, related=related, fix=fix)

    def lines(self) -> Iterator[tuple[int, str]]:
        """(offset, text) of the line where YAML gave up and of the one before."""
        for row in (self.row, self.row - 1):
            if row >= 1:
                yield self.document.starts[row - 1], self.document.line(row)

    @property
    def unexpected(self) -> bool:
        return "did not find expected" in self.problem or "expected <block end>" in self.problem


def translate(document: Document, error: Exception) -> Diagnostic:
    complaint = Complaint(document, error)
    for reader in _READERS:
        found = reader(complaint)
        if found is not None:
            return found
    return complaint.say(
        "FR010", f"not YAML: {complaint.problem}", complaint.at, complaint.at, "put the value in quotes"
    )


def quote(text: str) -> str:
    return f'"{text}"' if '"' not in text and "\\" not in text else "'" + text.replace("'", "''") + "'"


def _deep(c: Complaint) -> Diagnostic | None:
    if "nesting depth" not in c.problem and "recursion" not in c.problem:
        return None
    return c.say("FR001", "nested too many levels deep", c.at, c.at, "a flow needs fewer than 64")


def _tab(c: Complaint) -> Diagnostic | None:
    for start, line in c.lines():
        margin = line[: len(line) - len(line.lstrip())]
        if "\t" in margin:
            at = start + margin.index("\t")
            return c.say("FR011", "a tab is no indentation in YAML", at, at + 1, "use spaces", Fix(at, at + 1, "  "))
    if c.problem.startswith("found character") and c.text[c.at : c.at + 1] == "\t":
        fix = Fix(c.at, c.at + 1, " ")
        return c.say("FR011", "a tab where YAML takes only spaces", c.at, c.at + 1, "use spaces", fix)
    return None


def _template(c: Complaint) -> Diagnostic | None:
    if c.text.startswith("{{", c.at) or c.text.startswith("{%", max(0, c.at - 1)):
        for start, line in c.lines():
            found = re.search(r"[^\s:,\[{][^\s,]*\{\{|\{\{|\{%", line)
            if found:
                at = start + found.start()
                return c.say("FR012", "a template must be quoted", at, start + len(line), 'write "{{ … }}" in quotes')
    for start, line in c.lines():
        found = re.search(r"(?::|-)\s+(\{[{%].*)$", line)
        if found:
            return unquoted_template(c.document, start + found.start(1))
    return None


def unquoted_template(document: Document, at: int) -> Diagnostic:
    """``at``: where the braces begin. The fix takes in all up to the last closing braces of the line."""
    start = document.starts[document.place(at)[0] - 1]
    line = document.line(document.place(at)[0])
    end = max(line.rfind("}}"), line.rfind("%}")) + 2
    fix = None
    if end > 2 and not line[end:].split("#")[0].strip():
        fix = Fix(at, start + end, quote(document.text[at : start + end]))
    stop = start + (end if end > 2 else len(line))
    span = document.span(at, max(stop, at + 1))
    return Diagnostic("FR012", "a template must be quoted", span, help='write "{{ … }}" in quotes', fix=fix)


def _special(c: Complaint) -> Diagnostic | None:
    char = c.text[c.at : c.at + 1]
    if not c.problem.startswith("found character") or char not in ("@", "`", "%"):
        return None
    end = c.document.starts[c.row - 1] + len(c.document.line(c.row))
    return c.say("FR013", f"a value may not start with {char} unquoted", c.at, end, "put it in quotes")


def _quote_open(c: Complaint) -> Diagnostic | None:
    if "quoted scalar" not in c.problem and "quoted scalar" not in c.context:
        return None
    if "escape" in c.problem:
        help = r"inside double quotes a backslash is written \\; or use single quotes"
        return c.say("FR018", "a backslash inside double quotes begins an escape", c.at - 1, c.at + 1, help)
    start = c.document.starts[c.document.place(c.since)[0] - 1]
    before = c.text[start : c.since]
    if before.count("(") > before.count(")") and re.search(r"[{\[]", before):
        at = start + max(before.rfind(": "), before.rfind("[") - 1) + 2
        end = start + len(c.document.line(c.document.place(start)[0]))
        return c.say(
            "FR007", "inside { } and [ ] a ',' ends an unquoted value", at, end, "put the whole value in quotes"
        )
    row = _odd_quotes(c, c.text[c.since : c.since + 1])
    at = row if row is not None else c.since
    return c.say("FR018", "a quote is not closed", at, at + 1, "close it on the same line")


def _odd_quotes(c: Complaint, mark: str) -> int | None:
    """The first quote of the first line, up to where YAML gave up, with an odd number of them."""
    for row in range(1, c.row + 1):
        line = c.document.line(row).split(" #")[0]
        if mark in ("'", '"') and line.count(mark) % 2 and (mark == '"' or re.search(r"[\s,\[{]'", line)):
            return c.document.starts[row - 1] + line.rindex(mark)
    return None


def _quote_above(c: Complaint) -> Diagnostic | None:
    """A double quote that is open on an earlier line makes a later line's quotes the wrong way round."""
    at = _odd_quotes(c, '"') if c.unexpected else None
    if at is None or c.document.place(at)[0] >= c.row:
        return None
    return c.say("FR018", "a quote is not closed", at, at + 1, "close it on the same line")


def _after_quote(c: Complaint) -> Diagnostic | None:
    if not c.unexpected:
        return None
    for start, line in c.lines():
        found = re.search(r"(?::|-)\s+((['\"]).*?\2\s*[^\s#,}\]:'\"].*)$", line)
        if found and start <= c.at <= start + len(line):
            help = "quote the whole value" + ("; a ' inside '…' is doubled: ''" if found.group(2) == "'" else "")
            return c.say(
                "FR015", "text goes on after the closing quote", start + found.start(1), start + len(line), help
            )
    return None


def _colon(c: Complaint) -> Diagnostic | None:
    """``title: Orders: new``, and a line above without ':' that makes this one's ':' surprising."""
    char = c.text[c.at : c.at + 1]
    if "mapping values are not allowed" not in c.problem and not (c.unexpected and char == ":"):
        return None
    if "flow" in c.context and c.document.place(c.since)[0] != c.row:
        return None  # an open bracket further up
    start = c.document.starts[c.row - 1]
    line = c.document.line(c.row)
    if "{" in line[: c.at - start]:
        at = max(line.rfind(": ", 0, c.at - start) + 2, line.rfind(", ", 0, c.at - start) + 2)
        return c.say("FR014", "a value with ': ' in it must be quoted", start + at, c.at + 1, "put it in quotes")
    found = re.match(r"\s*(?:- )*[^\s'\"#\[{][^'\"#]*?:\s+(?=\S)", line)
    if found and start + found.end() <= c.at:
        body = line[found.end() :].split(" #")[0].rstrip()
        at = start + found.end()
        clean = not re.search(r"[\[\]{}'\"]", body)
        fix = Fix(at, at + len(body), quote(body)) if clean else None
        return c.say("FR014", "a value with ': ' in it must be quoted", at, at + len(body), "put it in quotes", fix)
    for row in range(c.row - 1, 0, -1):
        above = c.document.line(row)
        if not above.strip() or above.lstrip().startswith("#"):
            continue
        if not re.search(r":(\s|$)", above):
            return _no_colon(c, row)
        break
    help = "is the line above complete, and does this one start in the same column?"
    at = start + len(line) - len(line.lstrip())
    return c.say("FR019", "this line does not line up with the ones above", at, c.at + 1, help)


def _no_colon(c: Complaint, row: int) -> Diagnostic:
    line = c.document.line(row)
    start = c.document.starts[row - 1] + len(line) - len(line.lstrip())
    return c.say("FR016", "a line without ':' (key: value)", start, start + len(line.strip()), "write key: value")


def _simple_key(c: Complaint) -> Diagnostic | None:
    if "could not find expected ':'" not in c.problem:
        return None
    return _no_colon(c, c.document.place(c.since)[0])


def _bracket(c: Complaint) -> Diagnostic | None:
    if "flow" not in c.context and "',' or" not in c.problem:
        return None
    if "flow node" in c.context:  # the file ends right after an opening bracket
        c.since = max(c.text.rfind("[", 0, c.at), c.text.rfind("{", 0, c.at), 0)
    shown = c.text[c.since : c.since + 1]
    if shown not in ("[", "{"):
        return None
    char, before = c.text[c.at : c.at + 1], c.text[c.at - 1 : c.at]
    same_line = c.document.place(c.since)[0] == c.document.place(c.at)[0]
    if same_line and char in ("[", "{", "]", "}") and before not in ("", " ", ",", ":", "[", "{"):
        message = f"inside {shown} … a value with {char} in it must be quoted"
        return c.say("FR013", message, c.at, c.at + 1, f"for example {{ from: {quote('order.items[0].sku')} }}")
    if same_line and char in ("'", '"'):
        help = "quote the whole value, or put a comma before the next item"
        return c.say("FR015", "text and quotes are mixed, or a comma is missing", c.at, c.at + 1, help)
    help = f"close the '{shown}'; quote a value that holds [ ] {{ }} or ,"
    return c.say(
        "FR017", f"'{shown}' is not closed, or a comma is missing", c.since, c.since + 1, help, None, opened=c.at
    )


def _surplus(c: Complaint) -> Diagnostic | None:
    char = c.text[c.at : c.at + 1]
    if char not in ("]", "}"):
        return None
    opens = "[" if char == "]" else "{"
    return c.say("FR017", f"'{char}' closes nothing", c.at, c.at + 1, f"take it away, or open it with '{opens}'")


def _line_up(c: Complaint) -> Diagnostic | None:
    if not c.unexpected:
        return None
    for mark in ('"', "'"):
        at = _odd_quotes(c, mark)
        if at is not None:
            return c.say("FR018", "a quote is not closed", at, at + 1, "close it on the same line")
    line = c.document.line(c.row)
    at = max(c.at, c.document.starts[c.row - 1])
    end = c.document.starts[c.row - 1] + len(line)
    message = "this line does not line up with the ones above"
    return c.say("FR019", message, at, max(at + 1, end), "entries of one block start in the same column")


_READERS: tuple[Callable[[Complaint], Diagnostic | None], ...] = (
    _deep, _tab, _template, _special, _quote_open, _quote_above, _after_quote, _colon, _simple_key, _bracket,
    _surplus, _line_up,
)  # fmt: skip
