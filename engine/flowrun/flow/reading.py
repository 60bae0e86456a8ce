"""Reading nodes into plain values, saying what is wrong at its place, and going on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from flowrun.contract import Field
from flowrun.diagnostics import Diagnostic, Fix, Severity, Span, near, surely
from flowrun.document import Document, Entry, Map, Node, Scalar, Seq
from flowrun.errors import ExpressionError
from flowrun.expressions import Analysis, Finding, analyse
from flowrun.expressions import parse as parse_expression
from flowrun.expressions.parsed import Language, Parsed
from flowrun.flow.model import Expr
from flowrun.flow.words import KINDS, RESERVED_STEP_WORDS, Box
from flowrun.project import constant

Scope = Mapping[str, Field]
"""Names in scope, each with what is known of its value."""

_DURATION = re.compile(r"(\d{1,6})\s*(ms|s|m|h|d)")
_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600), "d": Decimal(86400)}
_DID_YOU_MEAN = re.compile(r"did you mean '([^']+)'")
FINDINGS_MAX = 1000  # of one file
GRAMMAR = frozenset(["and", "or", "not", "in", "is", "if", "else", "true", "false", "none", "True", "False", "None"])
"""Words of expressions: nobody could read a name that is one of them."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FLOW_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def seconds(text: str) -> Decimal | None:
    """Seconds of a time span as it is written: ``15m``, ``2h``, ``250ms``. None when it is none."""
    found = _DURATION.fullmatch(text)
    return None if found is None else int(found.group(1)) * _SECONDS[found.group(2)]


def percentage(text: str) -> Decimal | None:
    """``40%`` → 0.4. None when it is none."""
    number = text.removesuffix("%").strip()
    if not text.endswith("%") or not (number.isascii() and number.isdigit()) or int(number) > 100:
        return None
    return Decimal(number) / 100


class Analyses:
    """What is known of expressions, shared by all flows of a run: the same text over the same contracts is analysed
    once. What only the contracts' identity tells apart is keyed by id, so the fields are kept alive here."""

    def __init__(self) -> None:
        self._kept: dict[tuple[object, ...], tuple[Analysis, list[Field]]] = {}
        self._scopes: dict[int, tuple[Scope, int]] = {}
        self._numbers: dict[tuple[str, ...], int] = {}
        self._fields: dict[tuple[object, ...], Field] = {}

    def get(self, parsed: Parsed, scope: Scope) -> Analysis:
        fields = [scope[use.name] for use in parsed.names if use.name in scope]
        key = (parsed, self._names(scope), *map(id, fields))
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = (analyse(parsed, scope), fields)
        return found[0]

    def _names(self, scope: Scope) -> int:
        """A number for the names of a scope. A scope gains no name once it is used."""
        kept = self._scopes.get(id(scope))
        if kept is None:
            number = self._numbers.setdefault(tuple(scope), len(self._numbers))
            kept = self._scopes[id(scope)] = (scope, number)  # the scope is kept, so that its id stays its own
        return kept[1]

    def field(self, made: Field) -> Field:
        """The one Field of this run that is equal to ``made``, as far as can be told without a walk."""
        parts: tuple[object, ...] = ()
        if made.shape is not None and made.shape.name in ("vars", "group"):
            parts = tuple((name, *_facts(inner)) for name, inner in made.shape.fields.items())
        else:
            parts = _facts(made)
        return self._fields.setdefault((made.name, *parts), made)


def _facts(f: Field) -> tuple[object, ...]:
    return (f.type, f.max_length, f.precision, f.scale, id(f.shape), id(f.item))


class Reader:
    """Diagnostics of one file, and the small readers that every box uses. A reader returns None (or an empty value)
    after saying what is wrong, so one mistake has one message."""

    def __init__(self, document: Document, analyses: Analyses | None = None) -> None:
        self.document = document
        self.found: list[Diagnostic] = []
        self.env_reads: list[tuple[str, Span]] = []
        self.unsure = False  # a box that adds names could not be read: an unknown name may be one of them
        self.names: set[str] = set()  # names that expressions use; a variable as vars.NAME
        self.analyses = analyses if analyses is not None else Analyses()

    @property
    def full(self) -> bool:
        """So much is wrong with the file that more would help nobody."""
        return len(self.found) > FINDINGS_MAX

    def say(
        self,
        code: str,
        message: str,
        at: Node | Span,
        *,
        help: str = "",
        severity: Severity = "error",
        label: str = "",
        notes: tuple[str, ...] = (),
        fix: Fix | None = None,
        related: tuple[tuple[str, Span], ...] = (),
    ) -> None:
        span = at.span if isinstance(at, Node) else at
        if self.full:
            return
        if len(self.found) == FINDINGS_MAX:
            code, message, severity = (
                "FR001",
                f"more than {FINDINGS_MAX:,} findings; the rest is not looked at",
                "error",
            )
            label, help, notes, related, fix = "", "mend some of these first", (), (), None
        self.found.append(Diagnostic(code, message, span, severity, label, help, notes, related, fix))

    def say_unknown(
        self, code: str, message: str, node: Node, word: str, known: Iterable[str], *, help: str = ""
    ) -> str | None:
        """Says that a word means nothing here, and the near one it may stand for, or ``help``. Returns the near one."""
        if self.full:
            return None
        guess = near(word, known)
        label = f"did you mean '{guess}'?" if guess else ""
        self.say(code, message, node, label=label, help="" if guess else help, fix=self.rename(node, guess))
        return guess

    def rename(self, node: Node, to: str | None) -> Fix | None:
        """A certain fix: another word in the place of an unquoted one."""
        if to is None or not isinstance(node, Scalar) or not node.plain or not surely(node.text, to):
            return None
        return Fix(node.start, node.end, to)

    # -- containers ------------------------------------------------------------------------------------------------

    def box(self, node: Node | None, box: Box, what: str) -> dict[str, Node]:
        """The entries of a mapping that may only have the box's keys. Says: unknown key, missing key, wrong form.

        A misspelt key stands for the one it is near, so that what it holds is checked as well.
        """
        if node is None:
            return {}
        if not isinstance(node, Map):
            self.say("FR031", f"{what} is a block of 'name: …' lines", node, help=f"known here: {', '.join(box)}")
            return {}
        found = {}
        for entry in node.entries:
            name = entry.key.text
            if name in box:
                if not (isinstance(entry.value, Scalar) and entry.value.is_null and box[name].kind != "constant"):
                    found[name] = entry.value
                elif box[name].kind not in ("default", "plain"):
                    self.say("FR033", f"'{name}' has no value", entry.key, help=box[name].doc)
                    found[name] = entry.value
                else:
                    found[name] = entry.value
            else:
                meant = self.unknown_key(entry, box, what)
                if meant is not None and meant not in node.index:
                    found.setdefault(meant, entry.value)
        for name, word in box.items():
            if word.required and name not in node.index and name not in found:
                example = f"{name}: {word.example}" if word.example else f"{name}: …"
                self.say("FR034", f"{what} lacks '{name}'", self.head(node), help=f"{example}   ({word.doc})")
        return found

    def unknown_key(self, entry: Entry, known: Iterable[str], what: str) -> str | None:
        """Says that the key is unknown; returns the one it is near."""
        names = list(known)
        name = entry.key.text
        if name in RESERVED_STEP_WORDS:
            self.say(
                "FR023",
                f"'{name}' is a word of workflows: it stands in a step",
                entry.key,
                help=f"steps: [{{ id: NAME, {name}: … }}]" if name in KINDS else f"'{name}' comes in a later version",
            )
            return None
        help = f"known here: {', '.join(name for name in names if name)}"
        return self.say_unknown("FR030", f"unknown key '{name}' in {what}", entry.key, name, names, help=help)

    def is_name(self, text: str) -> bool:
        return _NAME.fullmatch(text) is not None and text not in GRAMMAR

    def head(self, node: Node) -> Span:
        """The first line of a node: where a message about the whole of it points."""
        span = node.span
        if span.line == span.end_line:
            return span
        end = span.start + len(node.document.line(span.line)) - (span.column - 1)
        return node.document.span(span.start, max(end, span.start + 1))

    def entries(self, node: Node | None, what: str) -> Iterator[Entry]:
        if isinstance(node, Map):
            yield from node.entries
        elif node is not None:
            self.say("FR031", f"{what} is a block of 'name: …' lines", node)

    def items(self, node: Node | None, what: str) -> Sequence[Node]:
        """A list, or one value standing for a list of one."""
        if node is None:
            return ()
        if isinstance(node, Seq):
            return node.items
        if isinstance(node, Scalar):
            return (node,)
        self.say("FR031", f"{what} is a list", node)
        return ()

    # -- scalars ---------------------------------------------------------------------------------------------------

    def text(self, node: Node | None, what: str) -> str:
        if node is None:
            return ""
        if not isinstance(node, Scalar):
            self.say("FR031", f"{what} is one value", node)
            return ""
        return node.text

    def texts(self, node: Node | None, what: str) -> tuple[str, ...]:
        return tuple(text for item in self.items(node, what) if (text := self.text(item, what)))

    def name(self, node: Node | None, what: str) -> str:
        text = self.text(node, what)
        if text and node is not None and not _NAME.fullmatch(text):
            self.say(
                "FR035", f"'{text}' cannot be a name", node, help="letters, digits and _, not starting with a digit"
            )
            return ""
        if node is not None and text in GRAMMAR:
            self.say(
                "FR035", f"'{text}' cannot be a name: it is a word of expressions", node, help="choose another name"
            )
            return ""
        return text

    def flow_name(self, node: Node | None) -> str:
        text = self.text(node, "the name")
        if text and node is not None and not _FLOW_NAME.fullmatch(text):
            self.say("FR035", f"'{text}' cannot be a flow's name", node, help="letters, digits, -, _ and .")
        return text

    def boolean(self, node: Node | None, what: str) -> bool:
        if node is None:
            return False
        text = self.text(node, what)
        if text not in ("true", "false"):
            self.say("FR036", f"{what} is true or false, not '{text}'", node)
        return text == "true"

    def word(self, node: Node | None, what: str, allowed: Sequence[str]) -> str:
        text = self.text(node, what)
        if node is not None and text and text not in allowed:
            guess = near(text, allowed)
            self.say(
                "FR037",
                f"{what} is one of {', '.join(allowed)}, not '{text}'",
                node,
                label=f"did you mean '{guess}'?" if guess else "",
            )
            return ""
        return text

    def count(self, node: Node | None, what: str) -> int | None:
        if node is None:
            return None
        text = self.text(node, what)
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            self.say("FR038", f"{what} is a whole number, not '{text}'", node)
            return None
        return int(text)

    def duration(self, node: Node | None, what: str) -> Decimal | None:
        """Seconds of ``15m``, ``2h``, ``30s``, ``1d``, ``250ms``."""
        if node is None:
            return None
        text = self.text(node, what)
        found = seconds(text)
        if found is None and isinstance(node, Scalar):  # otherwise it is said already
            self.say("FR039", f"{what} is a time span such as 30s, 15m, 2h or 1d, not '{text}'", node)
        return found

    def plain(self, node: Node | None) -> Any:
        """Test data: maps, lists, and constants as ``value:`` reads them."""
        if isinstance(node, Map):
            return {entry.key.text: self.plain(entry.value) for entry in node.entries}
        if isinstance(node, Seq):
            return [self.plain(item) for item in node.items]
        return constant(node) if isinstance(node, Scalar) else None

    # -- expressions -----------------------------------------------------------------------------------------------

    def expression(self, node: Node | None, language: Language, scope: Scope, what: str) -> Expr | None:
        """A checked expression; None after saying what is wrong with it."""
        if node is None:
            return None
        if not isinstance(node, Scalar):
            self.say("FR031", f"{what} is one expression", node)
            return None
        inside = node.document.offset_span
        if "${" in node.text:
            at = node.text.index("${")
            help = "a template is written {{ … }}; settings stand in flowrun.yaml"
            self.say("FR043", "${…} is not part of the language", inside(node, at, 2), help=help)
            return None
        try:
            parsed = parse_expression(language, node.text)
        except ExpressionError as error:
            self.say(error.code, error.message, inside(node, error.offset, error.length), help=error.help)
            return None
        good = True
        analysis = self.analysis(parsed, scope)
        for finding in analysis.findings:
            if finding.code == "FR104" and self.unsure:
                good = False
                continue
            span = inside(node, finding.offset, finding.length)
            good &= finding.severity != "error"
            self.say(
                finding.code,
                finding.message,
                span,
                severity=finding.severity,
                label=finding.label,
                help=finding.help,
                notes=finding.notes,
                fix=self._fix(node, finding, span),
            )
        for use in parsed.names:
            self.names.add(f"vars.{use.path[0]}" if use.name == "vars" and use.path else use.name)
            if use.name == "env" and use.path:
                self.env_reads.append((str(use.path[0]), inside(node, use.offset, use.length)))
        if not good:
            return None
        return Expr(language, node.text, inside(node, 0, len(node.text)))

    def analysis(self, parsed: Parsed, scope: Scope) -> Analysis:
        """What is known of an expression; remembered, since the check asks more than once."""
        return self.analyses.get(parsed, scope)

    def _fix(self, node: Scalar, finding: Finding, span: Span) -> Fix | None:
        """Certain only where one near name replaces exactly the word that is wrong."""
        if finding.code == "FR105" and node.plain:
            return Fix(node.span.start, node.span.end, f"{{ value: {quoted(node)} }}")
        guess = _DID_YOU_MEAN.search(finding.label or finding.help)
        if guess is None or finding.severity != "error" or finding.code not in ("FR104", "FR108", "FR110", "FR111"):
            return None
        wrong = node.document.text[span.start : span.end]
        right = guess.group(1)
        words = wrong.isidentifier() and right.isidentifier()
        return Fix(span.start, span.end, right) if words and surely(wrong, right) else None


def quoted(node: Scalar) -> str:
    """The scalar's text as YAML that stays text."""
    text = node.text.replace('"', "'")
    return f'"{text}"'
