"""Any text loads or gives diagnostics; every node's span slices its source; YAML is read as 1.2 means it."""

from __future__ import annotations

import random
import string
from pathlib import Path

import pytest
from frontkit import GOOD
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flowrun.diagnostics import Diagnostic
from flowrun.document import Document, Map, Scalar, Seq, load, parse, walk
from flowrun.errors import InvalidFlow
from flowrun.project import constant

YAMLISH = st.text(
    alphabet=st.one_of(
        st.sampled_from("{}[]:,-#'\"|>&*!%@`?\n\n  \tab1.{}~\\=<"), st.characters(exclude_categories=("Cs",))
    ),
    max_size=120,
)


def check_places(document: Document) -> None:
    text = document.text
    for problem in document.problems:
        assert 0 <= problem.span.start <= problem.span.end <= len(text) + 1
        assert problem.span.line >= 1 and problem.span.column >= 1
        assert problem.message
    for node in walk(document.root):
        assert 0 <= node.start <= node.end <= len(text)
        span = node.span
        assert (span.line, span.column) == document.place(span.start)
        raw = text[node.start : node.end]
        if isinstance(node, Scalar):
            if node.style == "" and "\n" not in raw and "\r" not in raw:
                assert raw == node.text or any(p.code == "FR007" for p in document.problems)
            elif node.style in ("'", '"'):
                assert raw[0] == raw[-1] == node.style
        elif isinstance(node, Map | Seq) and raw[:1] in ("{", "["):
            assert raw[-1] in ("}", "]")


@given(YAMLISH)
@example("[" * 100_000)
@example("{a: " * 5_000)
@example("a: &x [1]\nb: *x\n")
@example("\ufeffa: 1")
@example("a: \U0001f600 b\nc: '\U0001f600'\n")
@example("? |\n x\n: - a\n")
@example('"\\U00110000": 1')
@example("a:\r\n  b: 1\r  c: 2\n")
@example("%YAML 1.1\n---\na: 1")
@example("a: !<tag:yaml.org,2002:int> 1")
@settings(max_examples=400, deadline=None)
def test_any_text_loads_or_gives_diagnostics(text: str) -> None:
    document = parse(text, "x.yaml")
    check_places(document)
    assert document.root is not None or document.problems or not text.strip() or text.strip()[0] in "#-.%\ufeff"


@given(st.integers(0, 10_000))
@settings(max_examples=150, deadline=None)
def test_a_good_flow_with_one_character_changed_still_has_places(seed: int) -> None:
    rng = random.Random(seed)
    text = (GOOD / rng.choice(["orders.yaml", "stock.yaml", "small.yaml"])).read_text(encoding="utf-8")
    at = rng.randrange(len(text))
    changed = text[:at] + rng.choice([*string.punctuation, "", "\n", "\t", "\x00", "é", "\U0001f600"]) + text[at + 1 :]
    check_places(parse(changed, "x.yaml"))


@pytest.mark.parametrize("path", sorted(GOOD.glob("*.yaml")), ids=lambda p: p.stem)
def test_good_files_have_no_problems_and_the_tree_pyyaml_sees(path: Path) -> None:
    import yaml

    text = path.read_text(encoding="utf-8")
    document = parse(text, path.name)
    assert document.problems == []

    def strings(node: object) -> object:
        if isinstance(node, Map):
            return {e.key.text: strings(e.value) for e in node.entries}
        if isinstance(node, Seq):
            return [strings(item) for item in node.items]
        assert isinstance(node, Scalar)
        return node.text

    assert strings(document.root) == yaml.load(text, Loader=yaml.BaseLoader)


@pytest.mark.parametrize(
    ("scalar", "meaning"),
    [
        ("NO", "NO"), ("yes", "yes"), ("on", "on"), ("007", "007"), ("0x1F", "0x1F"), ("0o17", "0o17"),
        ("1E5", "1E5"), ("1_000", "1_000"), ("2024-01-01", "2024-01-01"), ("12:30:45", "12:30:45"), (".5", ".5"),
        ("12", 12), ("-3", -3), ("0", 0), ("true", True), ("false", False), ("True", "True"), ("null", None),
        ("~", None), ('"12"', "12"), ("'true'", "true"), ("'null'", "null"), ("+1", "+1"), ("-0", 0), ("1.", "1."),
        (".inf", ".inf"), (".nan", ".nan"), ("1" * 41, "1" * 41), ("٣", "٣"),
    ],
)  # fmt: skip
def test_constants_as_yaml_1_2_and_the_language_mean_them(scalar: str, meaning: object) -> None:
    root = load(f"a: {scalar}\n", "x.yaml").root
    assert isinstance(root, Map)
    node = root.get("a")
    assert isinstance(node, Scalar)
    found = constant(node)
    assert found == meaning and type(found) is type(meaning)


def test_a_decimal_keeps_its_digits() -> None:
    root = load("a: 1.50\n", "x.yaml").root
    assert isinstance(root, Map)
    node = root.get("a")
    assert isinstance(node, Scalar) and str(constant(node)) == "1.50"


@pytest.mark.parametrize(
    ("source", "offset", "length", "shown"),
    [
        ("a: order.id\n", 6, 2, "id"),
        ("a: 'order.id'\n", 6, 2, "id"),
        ('a: "X-{{ ordr.id }}"\n', 5, 4, "ordr"),
        ('a: "\U0001f600 {{ ordr }}"\n', 5, 4, "ordr"),
        ("a: |\n  {{ one }}\n  {{ two }}\n", 13, 3, "two"),
        ("a: |2\n    {{ one }}\n", 5, 3, "one"),
        ("a: 'it''s ordr'\n", 5, 4, "'it''s ordr'"),
        ('a: "\\t{{ ordr }}"\n', 4, 4, '"\\t{{ ordr }}"'),
        ("a: >\n  one\n  two\n", 4, 3, ">\n  one\n  two"),
        ("a: one\n  two\n", 4, 3, "one\n  two"),
        ("a: order.id\n", 0, 0, "order.id"),
    ],
)
def test_an_offset_inside_a_value_is_found_in_the_file(source: str, offset: int, length: int, shown: str) -> None:
    document = parse(source, "x.yaml")
    assert isinstance(document.root, Map)
    node = document.root.get("a")
    assert isinstance(node, Scalar)
    span = document.offset_span(node, offset, length)
    assert source[span.start : span.end] == shown


@pytest.mark.parametrize(
    ("text", "code", "line", "fixed"),
    [
        ("a: {{ x }}\n", "FR012", 1, 'a: "{{ x }}"\n'),
        ("a: {{ x }}-{{ y }}  # c\n", "FR012", 1, 'a: "{{ x }}-{{ y }}"  # c\n'),
        ("a: b: c\n", "FR014", 1, 'a: "b: c"\n'),
        ("b:\n\tc: 1\n", "FR011", 2, "b:\n  c: 1\n"),
        ("x: { from: max(a.b, a.c), as: trim }\n", "FR007", 1, 'x: { from: "max(a.b, a.c)", as: trim }\n'),
        ("x: [max(a.b, a.c), d]\n", "FR007", 1, 'x: ["max(a.b, a.c)", d]\n'),
        ("x: { from: f(a, b, c) }\n", "FR007", 1, 'x: { from: "f(a, b, c)" }\n'),
    ],
)
def test_certain_fixes_of_yaml_itself(text: str, code: str, line: int, fixed: str) -> None:
    found = parse(text, "x.yaml").problems
    assert [(d.code, d.span.line) for d in found] == [(code, line)]
    fix = found[0].fix
    assert fix is not None
    assert text[: fix.start] + fix.text + text[fix.end :] == fixed


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("a: [1\nb: 2\n", "FR017", 1),
        ("x: { from: a, as: b\ny: 2\nz: 3\n", "FR017", 1),
        ("- { when: a, value: b\n- { value: c }\n", "FR017", 1),
        ("a: 1\nb: ]\n", "FR017", 2),
        ('a: "x\nb: "y"\nc: 1\n', "FR018", 1),
        ("a: 'O'Neil'\n", "FR015", 1),
        ("a: 1\nfoo\nb: 2\n", "FR016", 2),
        ("a:\n  b: 1\n c: 2\n", "FR019", 3),
        ("a: @x\n", "FR013", 1),
        ("x: { from: order.items[0].sku }\n", "FR013", 1),
        ("m: { message: Error: bad }\n", "FR014", 1),
        ("x: { from: join(', ', a.b) }\n", "FR007", 1),
        ("a: Order #5\n", "FR008", 1),
    ],
)
def test_yaml_complaints_at_the_right_line(text: str, code: str, line: int) -> None:
    assert [(d.code, d.span.line) for d in parse(text, "x.yaml").problems] == [(code, line)]


def test_a_comment_is_not_a_cut_value() -> None:
    assert parse("a: b # c\nd: e  # f\n#g\nh: 'x #y'\n", "x.yaml").problems == []


def test_alias_bombs_and_large_files_are_refused_quickly() -> None:
    bomb = "a: &a [x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
    )
    assert [d.code for d in parse(bomb, "x.yaml").problems] == ["FR004"]
    assert [d.code for d in parse("a" * 1_000_001, "x.yaml").problems] == ["FR001"]
    assert [d.code for d in parse("# c\n" * 250_001, "x.yaml").problems] == ["FR001"]
    assert [d.code for d in parse("a: " + "[" * 65, "x.yaml").problems] == ["FR001"]
    assert [d.code for d in parse("a: " + "b" * 100_001, "x.yaml").problems] == ["FR001"]
    assert [d.code for d in parse("a: 1\x00", "x.yaml").problems] == ["FR002"]


def test_load_raises_what_parse_finds() -> None:
    with pytest.raises(InvalidFlow) as caught:
        load("a: 1\na: 2\n", "x.yaml")
    (only,) = caught.value.diagnostics
    assert isinstance(only, Diagnostic)
    assert (only.code, only.span.line, only.related[0][1].line) == ("FR006", 2, 1)
