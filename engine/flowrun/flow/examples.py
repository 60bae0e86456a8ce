"""The ``tests:`` box: examples with their expectations; ``like`` is merged here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from flowrun.contract import Field
from flowrun.diagnostics import near
from flowrun.document import Entry, Map, Node, Scalar, Seq
from flowrun.errors import ERROR_CLASSES
from flowrun.flow import words
from flowrun.flow.coverage import dotted
from flowrun.flow.model import Each, FieldMap, FlowTest, Items, Lookup, Nested, Source, Value
from flowrun.flow.reading import Reader, Scope

STAND_INS = ("lookups", "xref", "env", "now", "steps")
_ELSEWHERE = ("vars", "rules", "require", "source", "idempotency", "save", "target")
"""First words of an error's field that are no field of the body."""

_OPTIONAL = words.Word(words.TEST["given"].doc, "plain")
_MESSAGE = words.Word("Its words.", "text")


def merge(base: Any, over: Any) -> Any:
    """Deep merge: maps merge, everything else (lists too) is replaced whole."""
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        merged = dict(base)
        for key, value in over.items():
            merged[key] = merge(base[key], value) if key in base else value
        return merged
    return over


class Tree:
    """The fields of the body by name. inner None: what is inside is not built here, so anything may be."""

    def __init__(self) -> None:
        self.fields: dict[str, Tree | None] = {}

    def add(self, path: Sequence[str], inner: Tree | None) -> None:
        at = self
        for part in path[:-1]:
            below = at.fields.setdefault(part, Tree())
            if below is None:
                return
            at = below
        at.fields[path[-1]] = inner


def tree_of(fields: FieldMap) -> Tree:
    tree = Tree()
    for one in fields.fields:
        tree.add(one.path, _tree_of_value(one.value))
    return tree


def _tree_of_value(value: Value) -> Tree | None:
    if isinstance(value.origin, Each | Nested):
        return tree_of(value.origin.map)
    if isinstance(value.origin, Items):
        merged = Tree()
        for item in value.origin.values:
            inner = _tree_of_value(item)
            if inner is None:
                return None
            merged.fields.update(inner.fields)
        return merged
    return None


class TestReader:
    """record: the name ``given`` holds the record under (``group`` for grouped flows). scope: what is known of it."""

    __test__ = False  # no test of ours, whatever its name

    def __init__(
        self,
        reader: Reader,
        record: str,
        scope: Scope,
        kinds: Mapping[str, str] | None = None,
        maps: Mapping[str, tuple[FieldMap | None, set[str]]] | None = None,
    ) -> None:
        """kinds: of a workflow, step id → kind. maps: what its write steps build, with the names of all fields."""
        self.kinds = kinds
        self.maps = maps or {}
        self.reader = reader
        self.record = record
        self.scope = scope
        self.given: dict[str, Any] = {}

    def read(
        self,
        node: Node | None,
        lookups: Mapping[str, Lookup],
        fields: FieldMap | None,
        source: Source | None,
        queues: Sequence[str],
        attempted: Iterable[str] = (),
    ) -> tuple[FlowTest, ...]:
        """fields: those of the map that are right; None when the map could not be read. attempted: the names of all
        of them."""
        r = self.reader
        if node is None:
            return ()
        if not isinstance(node, Seq):
            r.say("FR031", "'tests' is a list of examples", node, help="- name: …")
            return ()
        tree = tree_of(fields) if fields is not None else None
        if tree is not None:
            for name in attempted:
                tree.fields.setdefault(name, None)
        found = []
        for item in node.items:
            likes = isinstance(item, Map) and item.get("like") is not None
            parts = r.box(item, {**words.TEST, "given": _OPTIONAL} if likes else words.TEST, "a test")
            if parts:
                test = self._test(item, parts)
                if test is not None:
                    self._given(parts.get("given"), lookups)
                    self._expectations(parts, tree, lookups, source, queues)
                    found.append(test)
        return tuple(found)

    def _test(self, item: Node, parts: Mapping[str, Node]) -> FlowTest | None:
        r = self.reader
        name = r.text(parts.get("name"), "name")
        if name and name in self.given:
            r.say("FR180", f"two tests are named '{name}'", parts["name"], help="choose another name")
        given = r.plain(parts["given"]) if "given" in parts else {}
        if not isinstance(given, dict):
            r.say("FR031", f"'given' is a block: {self.record}: …", parts["given"])
            return None
        like = r.text(parts.get("like"), "like")
        if like:
            if like not in self.given:
                guess = near(like, self.given)
                label = f"did you mean '{guess}'?" if guess else ""
                fix = r.rename(parts["like"], guess)
                r.say("FR181", f"no test above is named '{like}'", parts["like"], label=label, fix=fix)
                return None
            given = merge(self.given[like], given)
        if name:
            self.given[name] = given
        if self.record and self.record not in given:
            if "given" in parts and isinstance(parts["given"], Map):
                for entry in parts["given"].entries:
                    if entry.key.text not in STAND_INS:
                        r.unknown_key(entry, (self.record, *STAND_INS), "given")
                        return None
            r.say("FR182", f"the test gives no '{self.record}'", r.head(item), help=f"given: {{ {self.record}: … }}")
            return None
        if not any(word.startswith("expect") for word in parts):
            r.say("FR183", f"test '{name}' expects nothing", r.head(item), help="expect: { FIELD: value }")
            return None
        if "expect_steps" in parts and self.kinds is None:
            help = "expect: { FIELD: value } looks at what map builds"
            r.say("FR191", "'expect_steps' looks at steps, and this flow has none", parts["expect_steps"], help=help)
        for word in ("expect", "expect_exact", "expect_absent") if self.kinds is not None else ():
            if word in parts:
                help = "expect_steps: [{ id: STEP, sent: { FIELD: value } }]"
                r.say("FR191", f"'{word}' looks at one map, and a workflow has steps", parts[word], help=help)
        return FlowTest(
            name=name,
            span=item.span,
            given=given,
            expect=self._fields(parts.get("expect"), "expect"),
            expect_exact=self._fields(parts.get("expect_exact"), "expect_exact"),
            expect_absent=r.texts(parts.get("expect_absent"), "expect_absent"),
            expect_error=self._texts(parts.get("expect_error"), words.EXPECT_ERROR, "expect_error"),
            expect_skipped=r.text(parts.get("expect_skipped"), "expect_skipped") or None,
            expect_dead_letter=self._texts(
                parts.get("expect_dead_letter"), words.EXPECT_DEAD_LETTER, "expect_dead_letter"
            ),
            expect_steps=self._steps(parts.get("expect_steps")) if self.kinds is not None else (),
        )

    def _steps(self, node: Node | None) -> tuple[Mapping[str, Any], ...]:
        r = self.reader
        found = []
        for item in r.items(node, "'expect_steps'") if node is not None else ():
            parts = r.box(item, words.EXPECT_STEP, "an expected step")
            name = r.text(parts.get("id"), "id")
            if not name or not self._is_step(parts["id"], name):
                continue
            kept: dict[str, Any] = {"id": name}
            if "sent" in parts:
                kept["sent"] = self._fields(parts["sent"], "sent")
                fields, attempted = self.maps.get(name, (None, set()))
                if fields is not None:
                    tree = tree_of(fields)
                    for other in attempted:
                        tree.fields.setdefault(other, None)
                    self._built(parts["sent"], tree)
            if "failed" in parts:
                kept["failed"] = r.word(parts["failed"], "failed", ERROR_CLASSES)
            for word in ("skipped",):
                if word in parts:
                    kept[word] = r.boolean(parts[word], word)
            found.append(kept)
        return tuple(found)

    def _is_step(self, node: Node, name: str) -> bool:
        kinds = self.kinds or {}
        if name in kinds:
            return True
        help = f"steps here: {', '.join(kinds) or 'none'}"
        self.reader.say_unknown("FR193", f"there is no step '{name}'", node, name, kinds, help=help)
        return False

    def _given_steps(self, node: Node) -> None:
        r = self.reader
        for entry in r.entries(node, "'steps'"):
            if self.kinds is not None and not self._is_step(entry.key, entry.key.text):
                continue
            parts = r.box(entry.value, words.GIVEN_STEP, "the answer of a step")
            error = parts.get("error")
            if error is not None:
                inner = r.box(error, {"class": words.EXPECT_ERROR["class"], "message": _MESSAGE}, "error")
                r.word(inner.get("class"), "class", ERROR_CLASSES)

    def _fields(self, node: Node | None, what: str) -> Mapping[str, Any] | None:
        if node is None:
            return None
        if not isinstance(node, Map):
            self.reader.say("FR031", f"'{what}' is a block of 'FIELD: value' lines", node)
            return None
        plain: dict[str, Any] = self.reader.plain(node)
        return plain

    def _texts(self, node: Node | None, box: words.Box, what: str) -> Mapping[str, str] | None:
        if node is None:
            return None
        parts = self.reader.box(node, box, what)
        return {name: self.reader.text(value, name) for name, value in parts.items()}

    # -- what is given ---------------------------------------------------------------------------------------------

    def _given(self, node: Node | None, lookups: Mapping[str, Lookup]) -> None:
        r = self.reader
        if not isinstance(node, Map):
            return
        names = {
            "lookups": [name for name, one in lookups.items() if one.kind != "xref"],
            "xref": [one.xref for one in lookups.values() if one.xref],
            "env": list(self.scope["env"].shape.fields) if self.scope["env"].shape else [],
        }
        for entry in node.entries:
            word = entry.key.text
            if word == self.record:
                self._record(entry.value, self.scope.get(self.record))
            elif word in names:
                for inner in r.entries(entry.value, f"'{word}'"):
                    if inner.key.text not in names[word]:
                        self._stands_for_nothing(word, inner, names[word])
            elif word == "steps" and self.kinds is not None:
                self._given_steps(entry.value)
            elif word == "now":
                self._now(entry.value)
            elif word not in STAND_INS:
                r.unknown_key(entry, (self.record, *STAND_INS), "given")

    def _stands_for_nothing(self, word: str, entry: Entry, known: Sequence[str]) -> None:
        help = f"known here: {', '.join(known) or 'none'}"
        self.reader.say_unknown(
            "FR193",
            f"'{entry.key.text}' under '{word}' stands in for nothing of this flow",
            entry.key,
            entry.key.text,
            known,
            help=help,
        )

    def _now(self, node: Node) -> None:
        text = self.reader.text(node, "now")
        try:
            aware = datetime.fromisoformat(text).tzinfo is not None
        except ValueError:
            aware = False
        if text and not aware:
            self.reader.say("FR194", f"'{text}' is no moment with a zone", node, help='now: "2026-05-04T10:00:00Z"')

    def _record(self, node: Node, field: Field | None) -> None:
        """Names in the record that its contract does not have: mostly misspelt."""
        if field is None:
            return
        if isinstance(node, Seq) and field.item is not None:
            for item in node.items:
                self._record(item, field.item)
        elif isinstance(node, Map) and field.shape is not None and field.shape.closed:
            for entry in node.entries:
                known = field.shape.get(entry.key.text)
                if known is not None:
                    self._record(entry.value, known)
                    continue
                guess = near(entry.key.text, field.shape.fields)
                self.reader.say(
                    "FR192",
                    f"{field.shape.name or field.name} has no field '{entry.key.text}'",
                    entry.key,
                    severity="lint",
                    label=f"did you mean '{guess}'?" if guess else "",
                )

    # -- what is expected ------------------------------------------------------------------------------------------

    def _expectations(
        self,
        parts: Mapping[str, Node],
        tree: Tree | None,
        lookups: Mapping[str, Lookup],
        source: Source | None,
        queues: Sequence[str],
    ) -> None:
        r = self.reader
        if tree is not None:
            for word in ("expect", "expect_exact"):
                self._built(parts.get(word), tree)
            for item in r.items(parts.get("expect_absent"), "expect_absent"):
                self._path(item, tree)
        error = parts.get("expect_error")
        if isinstance(error, Map):
            if error.get("class") is not None:
                r.word(error.get("class"), "class", ERROR_CLASSES)
            at = error.get("field")
            if tree is not None and isinstance(at, Scalar) and at.text.split(".")[0] not in _ELSEWHERE:
                self._path(at, tree)
        skipped = parts.get("expect_skipped")
        if isinstance(skipped, Scalar):
            reasons = [name for name, one in lookups.items() if one.on_miss.action == "skip"]
            if source is not None and source.only_when is not None:
                reasons.insert(0, "only_when")
            if skipped.text not in reasons and source is not None:
                help = f"what can: {', '.join(reasons) or 'nothing'}"
                r.say_unknown(
                    "FR195", f"'{skipped.text}' never skips a record here", skipped, skipped.text, reasons, help=help
                )
        letter = parts.get("expect_dead_letter")
        queue = letter.get("queue") if isinstance(letter, Map) else None
        if isinstance(queue, Scalar):
            r.word(queue, "queue", queues)

    def _built(self, node: Node | None, tree: Tree | None) -> None:
        if tree is None:
            return
        if isinstance(node, Seq):
            for item in node.items:
                self._built(item, tree)
        elif isinstance(node, Map):
            for entry in node.entries:
                if entry.key.text in tree.fields:
                    self._built(entry.value, tree.fields[entry.key.text])
                else:
                    self._not_built(entry.key, entry.key.text, tree)

    def _path(self, node: Node, tree: Tree) -> None:
        at: Tree | None = tree
        for part in dotted(node.text) if isinstance(node, Scalar) else ():
            if at is None:
                return
            if part not in at.fields:
                self._not_built(node, part, at)
                return
            at = at.fields[part]

    def _not_built(self, node: Node, name: str, tree: Tree) -> None:
        guess = near(name, tree.fields)
        whole = isinstance(node, Scalar) and node.text == name
        self.reader.say(
            "FR191",
            f"the map builds no '{name}'",
            node,
            label=f"did you mean '{guess}'?" if guess else "",
            help="" if guess else f"it builds: {', '.join(list(tree.fields)[:12])}",
            fix=self.reader.rename(node, guess) if whole else None,
        )
