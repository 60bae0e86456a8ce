"""READMEs of connectors are held against what the connectors declare: every setting, and every word of ``objects:``."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from flowrun.connections import COMMON
from flowrun.connector import discover
from flowrun_connectors.http.objects import OBJECT, STYLES, WORDS

NAMES = list(discover())


def room(name: str) -> Path:
    return Path(inspect.getfile(discover()[name])).parent


def tables(text: str) -> dict[str, dict[str, str]]:
    """``section: heading of the first column`` → name → words."""
    found: dict[str, dict[str, str]] = {}
    section, at = "", ""
    for line in text.splitlines():
        section = line.lstrip("# ") if line.startswith("#") else section
        if not line.startswith("|"):
            at = ""
            continue
        first, *rest = (cell.strip() for cell in line.strip("|").split("|"))
        if not at:
            at = f"{section}: {first}"
            found[at] = {}
        elif set(first) != {"-"}:
            name = re.match(r"`?([^`]+)`?", first)
            assert name is not None, line
            found[at][name[1]] = " | ".join(rest)
    return found


def settings(text: str) -> dict[str, str]:
    return next(rows for name, rows in tables(text).items() if name.endswith(": setting"))


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_in_the_readme_and_every_one_there_exists(name: str) -> None:
    cls: Any = discover()[name]
    told = settings((room(name) / "README.md").read_text())
    assert set(told) == {one.name for one in dataclasses.fields(cls.Settings)}
    assert all(len(words) > 3 for words in told.values())


@pytest.mark.parametrize("name", NAMES)
def test_every_object_action_and_event_is_in_the_readme(name: str) -> None:
    cls: Any = discover()[name]
    text = (room(name) / "README.md").read_text()
    for object, info in cls.objects({}).items():
        for word in (object, *info.actions, *info.cursors):
            assert re.search(rf"\b{re.escape(word)}\b", text), f"{object}: '{word}'"
    for event in cls.events:
        assert event in text


@pytest.mark.parametrize("block", [*WORDS, "an object", "styles"])
def test_every_word_of_an_http_object_is_in_the_readme_as_it_is_declared(block: str) -> None:
    words = {"an object": OBJECT, "styles": STYLES}.get(block) or WORDS[block]
    found = tables((room("http") / "README.md").read_text())
    title = {"an object": "An object: word", "styles": "`paging`, of `read` and of `find`: style"}.get(block) or next(
        heading for heading in found if f"`{block}`" in heading.split(":")[0] and heading.endswith(": word")
    )
    assert found[title] == dict(words)


def test_a_missing_row_would_be_seen() -> None:
    text = (room("http") / "README.md").read_text()
    assert "health" in settings(text)
    assert "health" not in settings(text.replace("| `health` |", "| health of it |"))


def test_what_every_connection_has_is_told_once() -> None:
    text = (Path(__file__).parent.parent / "docs/connections.md").read_text()
    found = tables(text)
    assert set(found["What every connection has: setting"]) == set(COMMON)
