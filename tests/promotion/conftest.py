"""A project in git, and a person at its command line."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.person import Ended, Person

PROD = "  prod:\n    values: {"


class Desk(Person):
    """root: the project. target: where bundles are applied."""

    def __init__(self, root: Path, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
        super().__init__(capsys)
        self.root, self.target = root, target

    def edit(self, file: str, old: str, new: str, *, commit: str = "") -> None:
        path = self.root / file
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        if commit:
            self.commit(commit)

    def commit(self, at: str) -> None:
        """at: the commit's time."""
        self.git("add", "flows", "lookups", "flowrun.yaml")
        self.git("commit", "-q", "-m", "a change", GIT_AUTHOR_DATE=at, GIT_COMMITTER_DATE=at)

    def git(self, *words: str, **environ: str) -> None:
        name = ("-c", "user.name=tester", "-c", "user.email=tester@example.com")
        subprocess.run(["git", *name, *words], cwd=self.root, check=True, env={**os.environ, **environ})

    def built(self, name: str = "out.bundle", *more: str) -> Path:
        ended = self("promote", "build", "--env", "qa", "--to", "prod", "-o", name, *more)
        assert ended.code == 0, ended.out + ended.err
        return self.root / name

    def approver(self, name: str = "anna") -> Path:
        """The key of an approver whom flowrun.yaml does not know yet."""
        key = self.root.parent / f"{name}.key"
        ended = self("promote", "key", key)
        assert ended.code == 0
        return key

    def wants_approval(self, *names: str, count: int = 1, commit: str = "") -> dict[str, Path]:
        keys = {name: self.approver(name) for name in names}
        public = ", ".join(f"{name}: {self('promote', 'key', key).out.strip()}" for name, key in keys.items())
        self.edit(
            "flowrun.yaml", PROD, f"  prod:\n    approvals: {count}\n    approvers: {{ {public} }}\n    values: {{",
            commit=commit,
        )  # fmt: skip
        return keys

    def apply(self, bundle: Path | str, *more: str, env: str = "prod") -> Ended:
        return self("promote", "apply", bundle, "--to", self.target, "--env", env, *more)


@pytest.fixture
def desk(project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any, capsys: Any) -> Desk:
    for name in [*os.environ]:
        if name.startswith(("FLOWRUN_", "XCART_", "S4_")) or name == "SOURCE_DATE_EPOCH":
            monkeypatch.delenv(name)
    monkeypatch.chdir(project)
    made = Desk(project, tmp_path_factory.mktemp("prod"), capsys)
    made.git("init", "-q")
    made.commit("2026-05-04T10:00:00Z")
    return made
