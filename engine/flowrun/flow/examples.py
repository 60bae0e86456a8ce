"""The ``tests:`` box: examples with their expectations; ``like`` is merged here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowrun.diagnostics import near
from flowrun.document import Map, Node, Seq
from flowrun.errors import ERROR_CLASSES
from flowrun.flow import words
from flowrun.flow.model import FlowTest
from flowrun.flow.reading import Reader

STAND_INS = ("lookups", "xref", "env", "now", "steps")


def merge(base: Any, over: Any) -> Any:
    """Deep merge: maps merge, everything else (lists too) is replaced whole."""
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        merged = dict(base)
        for key, value in over.items():
            merged[key] = merge(base[key], value) if key in base else value
        return merged
    return over


def read_tests(r: Reader, node: Node | None, record: str) -> tuple[FlowTest, ...]:
    """record: the name ``given`` holds the record under (``group`` for grouped flows)."""
    if node is None:
        return ()
    if not isinstance(node, Seq):
        r.say("FR031", "'tests' is a list of examples", node, help="- name: …")
        return ()
    given_by_name: dict[str, Any] = {}
    found: list[FlowTest] = []
    for item in node.items:
        parts = r.box(item, words.TEST if "like" not in _keys(item) else {**words.TEST, "given": _OPTIONAL}, "a test")
        if not parts:
            continue
        name = r.text(parts.get("name"), "name")
        if name in given_by_name:
            r.say("FR180", f"two tests are named '{name}'", parts["name"])
        given = r.plain(parts["given"]) if "given" in parts else {}
        if not isinstance(given, dict):
            r.say("FR031", f"'given' is a block: {record}: …", parts["given"])
            continue
        like = r.text(parts.get("like"), "like")
        if like:
            if like not in given_by_name:
                guess = near(like, given_by_name)
                r.say(
                    "FR181",
                    f"no test above is named '{like}'",
                    parts["like"],
                    label=f"did you mean '{guess}'?" if guess else "",
                )
                continue
            given = merge(given_by_name[like], given)
        if "given" in parts and isinstance(parts["given"], Map):
            for entry in parts["given"].entries:
                if entry.key.text not in (record, *STAND_INS):
                    r.unknown_key(entry, (record, *STAND_INS), "given")
        given_by_name[name] = given
        if record not in given:
            r.say("FR182", f"the test gives no '{record}'", r.head(item), help=f"given: {{ {record}: … }}")
            continue
        expectations = [word for word in parts if word.startswith("expect")]
        if not expectations:
            r.say("FR183", f"test '{name}' expects nothing", r.head(item), help="expect: { FIELD: value }")
            continue
        error = _error(r, parts.get("expect_error"))
        found.append(
            FlowTest(
                name=name,
                span=item.span,
                given=given,
                expect=_fields(r, parts.get("expect"), "expect"),
                expect_exact=_fields(r, parts.get("expect_exact"), "expect_exact"),
                expect_absent=r.texts(parts.get("expect_absent"), "expect_absent"),
                expect_error=error,
                expect_skipped=r.text(parts.get("expect_skipped"), "expect_skipped") or None,
                expect_dead_letter=_fields(r, parts.get("expect_dead_letter"), "expect_dead_letter"),
                expect_steps=(),
            )
        )
    return tuple(found)


_OPTIONAL = words.Word(words.TEST["given"].doc, "plain")


def _keys(node: Node) -> list[str]:
    return node.keys() if isinstance(node, Map) else []


def _fields(r: Reader, node: Node | None, what: str) -> Mapping[str, Any] | None:
    if node is None:
        return None
    if not isinstance(node, Map):
        r.say("FR031", f"'{what}' is a block of 'FIELD: value' lines", node)
        return None
    plain: dict[str, Any] = r.plain(node)
    return plain


def _error(r: Reader, node: Node | None) -> Mapping[str, str] | None:
    if node is None:
        return None
    parts = r.box(node, words.EXPECT_ERROR, "expect_error")
    if "class" in parts:
        r.word(parts["class"], "class", ERROR_CLASSES)
    return {name: r.text(value, name) for name, value in parts.items()}
