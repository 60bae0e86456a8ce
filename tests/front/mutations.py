"""Seeded mistakes that people make in good flows: each knows the line it is on."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flowrun.document import Map, Node, Scalar, Seq, parse
from flowrun.errors import ERROR_CLASSES
from flowrun.expressions.converters import CONVERTERS
from flowrun.flow import words


@dataclass(frozen=True)
class Mutation:
    """line: where the mistake is; slack: how many lines away its name may stand (something is gone, or stands twice)."""

    kind: str
    text: str
    line: int
    what: str
    slack: int = 0


def misspell(word: str, rng: random.Random) -> str:
    """One slip of the finger: a letter lost, doubled, or swapped with the next."""
    at = rng.randrange(1, len(word)) if len(word) > 1 else 0
    slip = rng.choice(("lose", "double", "swap"))
    if slip == "lose" and len(word) > 2:
        made = word[:at] + word[at + 1 :]
    elif slip == "swap" and at + 1 < len(word) and word[at] != word[at + 1]:
        made = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    else:
        made = word[:at] + word[at - 1] + word[at:]
    return made if made != word else word + word[-1]


Place = tuple[int, int]
"""Offsets [start, end) of what is changed."""


def _scalars(node: Node | None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Scalar, bool]]:
    """(path, scalar, is it a key) of everything outside ``given``."""
    if isinstance(node, Map):
        for entry in node.entries:
            yield (*path, entry.key.text), entry.key, True
            if entry.key.text != "given":
                yield from _scalars(entry.value, (*path, entry.key.text))
    elif isinstance(node, Seq):
        for item in node.items:
            yield from _scalars(item, path)
    elif isinstance(node, Scalar):
        yield path, node, False


_EXPRESSIONS = {"from", "text", "calc", "when", "where", "only_when", "rule", "message", "key", "version", "group_by"}
_EXPRESSIONS |= {"source_id", "target_id", "keep_order_by", "each"}
_WORDS = set(words.FLOW) | set(words.SOURCE) | set(words.TARGET) | set(words.VALUE) | set(words.LOOKUP)
_WORDS |= set(words.POLL) | set(words.POLICY) | set(words.RETRY) | set(words.TEST) | set(words.IDEMPOTENCY)


class Places:
    """Where in a flow each kind of mistake can be made."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.document = parse(text, "flow.yaml")
        assert not self.document.problems
        self.all = list(_scalars(self.document.root))

    def keys(self) -> list[Place]:
        """Words of the language, where they are keys and no field is called so."""
        return [(s.start, s.end) for path, s, key in self.all if key and s.text in _WORDS and self._is_word(path)]

    def _is_word(self, path: tuple[str, ...]) -> bool:
        inside = path[-2] if len(path) > 1 else ""
        if path[0] == "tests" and len(path) > 2:
            return False
        free = ("map", "rules", "vars", "lookups", "filter", "table", "with", "on_error", "save", "match")
        return inside not in free and not (path[0] == "on_error" and len(path) < 3)

    def expressions(self) -> list[Scalar]:
        found = []
        for path, s, key in self.all:
            if key or path[0] == "tests":
                continue
            short = path[0] in ("map", "vars") and not self._long(path)
            if path[-1] in _EXPRESSIONS or short or path[0] == "rules":
                found.append(s)
        return found

    def _long(self, path: tuple[str, ...]) -> bool:
        return path[-1] in words.VALUE and path[-1] not in ("map", "each")

    def in_expressions(self, pattern: str, group: int = 0) -> list[Place]:
        found = []
        for s in self.expressions():
            raw = self.text[s.start : s.end]
            bare = re.sub(r"'[^']*'", lambda m: " " * len(m.group()), raw)  # text in an expression is free
            for match in re.finditer(pattern, bare):
                found.append((s.start + match.start(group), s.start + match.end(group)))
        return found

    def values_of(self, *names: str, box: str = "") -> list[Place]:
        return [
            (s.start, s.end)
            for path, s, key in self.all
            if not key and path[-1] in names and path[0] != "tests" and (not box or path[0] == box)
        ]

    def fields(self) -> list[Place]:
        """Names of target fields."""
        return [(s.start, s.end) for path, s, key in self.all if key and path[0] == "map" and self._is_field(path)]

    def _is_field(self, path: tuple[str, ...]) -> bool:
        return len(path) > 1 and path[-2] == "map"

    def pattern(self, pattern: str, group: int = 0) -> list[Place]:
        return [match.span(group) for match in re.finditer(pattern, self.text, re.MULTILINE)]


def _slip(place: Place, text: str, rng: random.Random) -> str:
    start, end = place
    raw = text[start:end]
    quote = raw[0] if raw[0] in "'\"" else ""
    return text[: start + len(quote)] + misspell(raw.strip("'\""), rng) + quote + text[end:]


def _drop(place: Place, text: str, rng: random.Random) -> str:
    return text[: place[0]] + text[place[1] :]


def _strip_quotes(place: Place, text: str, rng: random.Random) -> str:
    return text[: place[0]] + text[place[0] + 1 : place[1] - 1] + text[place[1] :]


def _twice(place: Place, text: str, rng: random.Random) -> str:
    return text[: place[1]] + text[place[0] : place[1]] + text[place[1] :]


def _lonely(place: Place, text: str, rng: random.Random) -> str:
    """A second rule like the one there, which nothing asks."""
    line = text[place[0] : place[1]]
    return text[: place[0]] + "  lonely:" + line.split(":", 1)[1] + text[place[0] :]


def _around(before: str, after: str) -> Callable[[Place, str, random.Random], str]:
    return lambda place, text, rng: text[: place[0]] + before + text[place[0] : place[1]] + after + text[place[1] :]


def _put(word: str) -> Callable[[Place, str, random.Random], str]:
    return lambda place, text, rng: text[: place[0]] + word + text[place[1] :]


Kind = tuple[str, Callable[[Places], list[Place]], Callable[[Place, str, random.Random], str]]

KINDS: list[Kind] = [
    ("a misspelt key", Places.keys, _slip),
    ("a misspelt name", lambda p: p.in_expressions(r"\b(order|vars|line|group|stock|env|address|delivery|item)\."
                                                   r"[A-Za-z_]", 1), _slip),
    ("a misspelt source field", lambda p: p.in_expressions(r"\b(?:order|line|group|env|vars|stock)\.([A-Za-z_]{3,})", 1), _slip),
    ("a misspelt lookup", lambda p: p.values_of("lookup"), _slip),
    ("a misspelt converter", lambda p: p.pattern(rf"as: \[?({'|'.join(CONVERTERS)})\b", 1), _slip),
    ("a misspelt filter", lambda p: p.in_expressions(r"\| (length|sum|upper|round|default)\b", 1), _slip),
    ("a misspelt target field", Places.fields, _slip),
    ("a misspelt object", lambda p: p.values_of("object"), _slip),
    ("a misspelt connection", lambda p: p.values_of("connection"), _slip),
    ("a misspelt alert channel", lambda p: p.values_of("alert"), _slip),
    ("a misspelt error class", lambda p: p.pattern(rf"^  ({'|'.join(ERROR_CLASSES)}):", 1), _slip),
    ("a misspelt action", lambda p: p.values_of("action"), _slip),
    ("a misspelt key column", lambda p: p.values_of("find", "return", box="lookups"), _slip),
    ("a missing bracket", lambda p: p.pattern(r"^[^#\n]*?([{}\[\]()])", 1), _drop),
    ("a missing closing bracket", lambda p: p.pattern(r"^(?! *(?:- )?given)[^#\n]*([}\])])[^#\n]*$", 1), _drop),
    ("a missing quote", lambda p: p.pattern(r'^[^#\n\']*(")[^"\n]*$', 1), _drop),
    ("no on_miss", lambda p: p.pattern(r", on_miss: (?:\{[^}]*\}|\w+)"), _drop),
    ("no last case", lambda p: p.pattern(r"^ +- \{ value: [^}]*\}[^\n]*\n"), _drop),
    ("not a time span", lambda p: p.values_of("every", "wait", "max_wait", "look_back", "overlap"), _put("soon")),
    ("not a number", lambda p: p.values_of("times", "at_least", "batch", "max_changes"), _put("many")),
    ("not a boolean", lambda p: p.values_of("optional", "warn", "only_changes", "full"), _put("yes")),
    ("a bare constant", lambda p: p.pattern(r"\{ value: (\"\d+\") \}"), _put("10")),
    ("a tab", lambda p: p.pattern(r"^(  )\w+:", 1), _put("\t")),
    ("a missing colon", lambda p: p.pattern(r"^  \w+(:) [^{\n]*$", 1), _drop),
    ("an expected field that is not built", lambda p: p.pattern(r"expect: \{ (\w+):", 1), _slip),
    ("a misspelt like", lambda p: p.pattern(r"like: (.+?)(?: +#.*)?$", 1), _slip),
    ("an unquoted template", lambda p: p.pattern(r'\w+: ("\{\{[^"\n]*")', 1), _strip_quotes),
    ("a value cut by a comma", lambda p: p.pattern(r"\{ from: (\w+\.\w+)\b", 1), _around("max(", ", order.y)")),
    ("a value cut by a hash", lambda p: p.values_of("title"), _put("Order #5 of the shop")),
    ("an @ that is not quoted", lambda p: p.pattern(r"^  \w+: +(\w+\.\w+)$", 1), _put("@.name")),
    ("a bracket that is not quoted", lambda p: p.pattern(r"^  \w+: +(\w+\.\w+)$", 1), _put("[order.id][0]")),
    ("a key twice", lambda p: p.pattern(r"^  [A-Za-z]\w+: [^\n{\[|>]*\n"), _twice),
    ("an unknown function", lambda p: p.pattern(r"\{ from: (\w+\.\w+)[,} ]", 1), _around("not_nul(", ")")),
    ("the wrong number of arguments", lambda p: p.pattern(r"\{ from: (\w+\.\w+)[,} ]", 1), _around('"length(', ', `1`)"')),
    ("text ordered against a number", lambda p: p.pattern(r"each: \w+ in (order\.items)$", 1), _around("", "[?sku > `10`]")),
    ("an outer name inside a filter", lambda p: p.pattern(r"each: \w+ in (order\.items)$", 1), _around("", "[?sku == order.currency]")),
    ("a projection into a field", lambda p: p.pattern(r"^  \w+: +\{ from: (order\.\w+),? .*(?<!as)(?<!lookup): [^l\n]* \}$", 1), _put('"order.items[*].sku"')),
    ("a case that is never reached", lambda p: p.pattern(r"^ +- \{ (when: [^,\n]*, +)value: [^\n]*\n +- \{", 1), _drop),
    ("no idempotency key", lambda p: p.pattern(r"^    key: [^\n]*\n"), _drop),
    ("no overlap", lambda p: p.pattern(r"(, overlap: \w+)", 1), _drop),
    ("a secret in a flow", lambda p: p.pattern(r"^  \w+: +(\w+\.\w+)$", 1), _put("{ secret: password }")),
    ("a read-only field", lambda p: p.pattern(r"^  (SoldToParty|TransactionCurrency):", 1) if "A_SalesOrder\n" in p.text else [], _put("TotalNetAmount")),
    ("a required field that is missing", lambda p: p.pattern(r"^map:\n(?:.*\n){1,12}?(  SalesOrganization: [^\n]*\n)", 1), _drop),
    ("a constant that is too long", lambda p: p.pattern(r"^  (?:Dist|Org|Sales)\w+: +\{ value: \"(\d+)\" \}", 1), _put("far longer than any code may be")),
    ("too many digits", lambda p: p.pattern(r"(?:Rate|Quantity)\w*: +\{ [^}\n]*as: decimal (\d)", 1), _put("19")),
    ("a rule nobody uses", lambda p: p.pattern(r"^rules:[^\n]*\n(  \w+:[^\n]*\n)", 1), _lonely),
    ("textual substitution", lambda p: p.pattern(r"^  \w+: +(\w+\.\w+)$", 1), _put("${ORDER_ID}")),
    ("a plain nested object", lambda p: p.pattern(r"^  \w+: +(\w+\.\w+)$", 1), _around("{ inner: ", " }")),
    ("a template under from", lambda p: p.pattern(r"\{ from: (\w+\.\w+)[,} ]", 1), _around('"{{ ', ' }}"')),
    ("a default that looks like a path", lambda p: p.pattern(r"\bdefault: ([A-Z]\w*)\b", 1), _put("env.sales_org")),
    ("optional beside default", lambda p: p.pattern(r"(\bdefault: [A-Z]\w*)\b", 1), _around("", ", optional: true")),
    ("two ways to get a value", lambda p: p.pattern(r"\{ (from: \w+\.\w+),", 1), _around("", ", value: x")),
    ("a misspelt record of a test", lambda p: p.pattern(r"given: \{ (order|delivery|group|stock):", 1), _slip),
    ("on_miss with another word", lambda p: p.pattern(r"on_miss: (error|skip)\b", 1), _put("fail")),
    ("a misspelt rounding", lambda p: p.pattern(r"decimal \d (half_up|half_even|down)", 1), _slip),
    ("a converter without its argument", lambda p: p.pattern(r"\b(?:truncate|pad|alpha)( \d+)", 1), _drop),
    ("an unknown time zone", lambda p: p.pattern(r"(America/New_York|Europe/Berlin)", 1), _slip),
    ("a misspelt event", lambda p: p.values_of("webhook"), _slip),
    ("a misspelt word of a test", lambda p: p.pattern(r"^    (expect_absent|expect_error|expect_skipped|expect|given):", 1), _slip),
    ("a misspelt queue of a test", lambda p: p.pattern(r"expect_dead_letter: \{ queue: (\w+)", 1), _slip),
    ("a field that is no path", lambda p: p.in_expressions(r"\border(\.)\w", 1), _put("..")),
]  # fmt: skip


SLACK = {
    "no last case": 1,  # the line is gone; its list is what is left
    "a key twice": 1,
    "a case that is never reached": 1,  # the next one
    "no idempotency key": 2,
    "a required field that is missing": 1,
}


def mutate(text: str, seed: int) -> Mutation | None:
    """One mistake in ``text``, of the kind and at the place that the seed chooses; None when the flow has no such
    place."""
    rng = random.Random(seed)
    places = Places(text)
    kind, where, change = KINDS[seed % len(KINDS)]
    found = where(places)
    if not found:
        return None
    place = rng.choice(found)
    made = change(place, text, rng)
    line = text.count("\n", 0, place[0]) + 1
    if kind == "a required field that is missing":
        line = text.count("\n", 0, text.index("\nmap:")) + 2  # a map that lacks something is named where it begins
    return Mutation(kind, made, line, text[place[0] : place[1]], SLACK.get(kind, 0))
