"""A secret in every slot, everything failing in every way, at DEBUG: none of it is in anything that is left behind."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowrun.testing.faults import Faults
from tests.canaries.project import MAIL, SCHEMES, Project, search
from tests.canaries.system import Repeating

FAULTS = (
    "", "refuses", "says_no", "401*", "403*", "429*", "503*", "500_after*", "reset_before*", "reset_after*", "garbage_after*",
    "html200*", "not_utf8*", "truncated*", "empty200*", "timeout_after*;hang=1.2", "307*", "401*;path=/token",
    "garbage_after*;path=/token", "500*;path=/token", "reset_after*;path=/token",
)  # fmt: skip
DEBUG = ("--log", "json", "--log-level", "debug")
OTHERS = (
    ("validate",), ("runs",), ("runs", "1"), ("plan", "to_bearer", "--input", "in/0a.jsonl"), ("plan", "to_query", "--input", "in/0a.jsonl", "--format", "json", "--output", "plan.json"),
    ("run", "to_query", "--plan", "plan.json"), ("diff", "to_basic", "--against", "HEAD"), ("explain", "to_basic", "--key", "0a"),
    ("dlq", "list"), ("dlq", "show", "to_basic", "0a-loud"), ("dlq", "show", "to_basic", "0a-many"), ("dlq", "export"), ("dlq", "review"),
    ("dlq", "preview", "to_basic", "--all", "--bodies"), ("dlq", "edit", "to_basic", "0a-loud"), ("dlq", "replay", "to_basic", "0a-loud"),
    ("trace", "0a"), ("trace", "0a-loud", "--format", "json"), ("state", "show"), ("state", "verify"), ("state", "backup", "copy.backup"),
    ("connections", "list"), ("connections", "check"), ("alerts", "list"), ("alerts", "show", "1"), ("alerts", "list", "--past"),
    ("alerts", "test", "hook"), ("alerts", "test", "mail"), ("run", "to_basic", "--dry-run"), ("test", "--record", "1"),
    ("state", "rotate-key"),
)  # fmt: skip


@pytest.fixture
def system() -> Iterator[Repeating]:
    made = Repeating()
    with made.running():
        yield made


@pytest.fixture
def project(tmp_path: Path, system: Repeating) -> Iterator[Project]:
    made = Project(tmp_path, system.base_url, len(FAULTS) + 1)
    for words in (("init", "-q"), ("add", "flows", "flowrun.yaml"), ("commit", "-q", "-m", "a")):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=made.root, check=True)
    yield made
    made.close()


def broken(system: Repeating, fault: str) -> None:
    system.refuses, system.says_no = fault == "refuses", fault == "says_no"
    system.faults = Faults() if fault in ("", "refuses", "says_no") else Faults.parse(fault)


def swept(project: Project, system: Repeating, schemes: tuple[str, ...], each: int) -> int:
    """Every fault, met by ``each`` of the schemes in turn, in an environment of its own. Returns how many failed."""
    failed = 0
    for n, fault in enumerate(FAULTS):
        project.authorised(f"e{n}")
        broken(system, fault)
        for k in range(each):
            name = schemes[(n * each + k) % len(schemes)]
            words = ("run", f"to_{name}", "--env", f"e{n}", "--input", project.people(f"{n}a", f"{n}b"), "--wait", "0")
            before = len(system.log) + len(system.faults.hit)
            code, said = project(*words, *DEBUG)
            assert "Traceback" not in said and code in (0, 1, 4), said
            assert len(system.log) + len(system.faults.hit) > before, said
            failed += code != 0
        if n % (1 + len(SCHEMES) // each) == 1:  # it asks every connection
            code, said = project("connections", "check", "--env", f"e{n}")
            failed += code != 0
    broken(system, "")
    for name in ("tls", "gone"):
        code, said = project("run", f"to_{name}", "--env", f"e{len(FAULTS)}", "--input", project.people("t"), *DEBUG)
        assert "Traceback" not in said
    return failed


def others(project: Project, system: Repeating) -> None:
    """All other commands, in the environment of a target that refuses, and says all it was sent."""
    broken(system, "refuses")
    project("run", "to_basic", "--env", "e1", "--input", project.people("0a", "0b"), "--wait", "0", *DEBUG)
    for words in OTHERS:
        env = () if words[0] in ("validate",) else ("--env", "e1")
        code, said = project(*words, *env)
        assert "Traceback" not in said and "Usage:" not in said, (words, said)
        assert said or code == 0, words
    broken(system, "")


def test_no_secret_is_left_anywhere(project: Project, system: Repeating) -> None:
    schemes = tuple(SCHEMES)
    assert swept(project, system, schemes, 1) > len(FAULTS) - 5
    others(project, system)
    said = dict(project.surfaces())
    assert sum(map(len, said.values())) > 100_000 and any(name.endswith(".db") for name in said)
    assert b"git" in said["environment and command line of children"]
    assert "copy.backup" in said and "plan.json" in said
    assert project.found() == []
    assert any(MAIL.lower().encode() in request.body for request in system.log), "what is delivered is whole"


@pytest.mark.soak
def test_no_secret_of_any_scheme_in_any_fault(project: Project, system: Repeating) -> None:
    swept(project, system, tuple(SCHEMES), len(SCHEMES))
    others(project, system)
    assert project.found() == []


@pytest.mark.parametrize("surface", ["said/1.out", ".flowrun/state-e0.db-wal", "copy.backup", "plan.json"])
def test_the_search_would_find_it(project: Project, surface: str) -> None:
    (project.root / surface).parent.mkdir(exist_ok=True)
    (project.root / surface).write_bytes(b'{"x": "\x00 Token cnry-header-key-3f%27%5C%22%26%257a"}')
    assert [(one.surface, one.name) for one in project.found()] == [(surface, "header_key")]


def test_the_search_knows_every_secret(project: Project) -> None:
    for name, value in project.secrets.items():
        assert name in {one.name for one in search("x", value.encode(), project.secrets)}
