"""At least 95 of 100 seeded mistakes in good flows are named at the line they are on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from frontkit import GOOD, REGISTRY, write_project
from mutations import KINDS, Mutation, mutate

from flowrun.connector import Registry, discover
from flowrun.diagnostics import Diagnostic, Span
from flowrun.flow import check_project
from flowrun.project import load_project

MISTAKES = 300
ENOUGH = 0.95


def findings(root: Path, text: str, registry: Registry) -> list[Diagnostic]:
    path = root / "flows" / "mutated.yaml"
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
    return list(check_project(load_project(root), registry, [path]).diagnostics)


def named(found: list[Diagnostic], before: set[tuple[str, str]], mutation: Mutation) -> bool:
    new = [d for d in found if (d.code, d.message) not in before]
    slack = mutation.slack
    return any(d.span.line - slack <= mutation.line <= d.span.end_line + slack for d in new)


REPO = Path(__file__).parents[2]


@pytest.mark.parametrize("which", ["the examples", "the shipped flows"])
def test_mistakes_are_named_at_their_line(which: str, tmp_path: Path) -> None:
    if which == "the examples":
        registry: Registry = REGISTRY
        write_project(tmp_path, {"flows/.keep": ""})
        paths = [GOOD / "orders.yaml", GOOD / "stock.yaml", GOOD / "small.yaml"]
    else:
        registry = discover()
        (tmp_path / "flows").mkdir()
        shutil.copy(REPO / "flowrun.yaml", tmp_path)
        for folder in ("lookups", "contracts", "samples"):
            if (REPO / folder).is_dir():
                shutil.copytree(REPO / folder, tmp_path / folder)
        paths = sorted((REPO / "flows").rglob("*.yaml"))
        for path in paths:
            if "fragment:" in path.read_text(encoding="utf-8"):
                shutil.copy(path, tmp_path / "flows")
        paths = [path for path in paths if not (tmp_path / "flows" / path.name).exists()]
    texts = {path.stem: path.read_text(encoding="utf-8") for path in paths}
    before = {name: {(d.code, d.message) for d in findings(tmp_path, text, registry)} for name, text in texts.items()}
    assert texts
    missed: list[str] = []
    tried = 0
    seed = 0
    kinds: set[str] = set()
    while tried < MISTAKES:
        name = list(texts)[(seed // len(KINDS)) % len(texts)]
        mutation = mutate(texts[name], seed)
        seed += 1
        if mutation is None:
            continue
        tried += 1
        kinds.add(mutation.kind)
        found = findings(tmp_path, mutation.text, registry)
        if not named(found, before[name], mutation):
            new = [f"{d.span.line} {d.code}" for d in found if (d.code, d.message) not in before[name]]
            line = mutation.text.splitlines()[mutation.line - 1]
            missed.append(f"{name}:{mutation.line} {mutation.kind} ({mutation.what!r}): {line.strip()!r} → {new}")
    assert len(kinds) > len(KINDS) - 4
    assert len(missed) <= tried * (1 - ENOUGH), f"{len(missed)} of {tried}:\n" + "\n".join(missed)


def test_the_measure_sees_silence_and_the_wrong_line() -> None:
    mutation = Mutation("a misspelt key", "", 5, "key")
    here, there = Span("flow.yaml", 5, 1, 5, 4), Span("flow.yaml", 6, 1, 6, 4)
    assert not named([], set(), mutation)
    assert not named([Diagnostic("FR030", "x", there)], set(), mutation)
    assert not named([Diagnostic("FR030", "x", here)], {("FR030", "x")}, mutation)
    assert named([Diagnostic("FR030", "x", here)], set(), mutation)


def test_a_fix_mends_and_breaks_nothing(tmp_path: Path) -> None:
    """Certain means: after the fix the flow has the findings it had before the mistake."""
    write_project(tmp_path, {"flows/.keep": ""})
    text = (GOOD / "orders.yaml").read_text(encoding="utf-8")
    before = {(d.code, d.message) for d in findings(tmp_path, text, REGISTRY)}
    mended = 0
    wrong: list[str] = []
    for seed in range(300):
        mutation = mutate(text, seed)
        if mutation is None:
            continue
        found = findings(tmp_path, mutation.text, REGISTRY)
        new = [d for d in found if (d.code, d.message) not in before]
        fixes = [d.fix for d in new if d.fix is not None]
        if len(fixes) != 1 or len([d for d in new if d.severity == "error"]) != 1:
            continue
        fix = fixes[0]
        after = mutation.text[: fix.start] + fix.text + mutation.text[fix.end :]
        left = {(d.code, d.message) for d in findings(tmp_path, after, REGISTRY)} - before
        mended += 1
        if left:
            wrong.append(f"{mutation.kind} {mutation.what!r} → {fix.text!r}: {left}")
    assert mended > 60
    assert not wrong, "\n".join(wrong)
