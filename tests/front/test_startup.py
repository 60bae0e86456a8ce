"""A command imports what it needs and no more: the difference between a tool that answers and one that starts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
RUN = """
import json, sys
from flowrun.cli.main import main
try:
    main()
except SystemExit:
    pass
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""
HEAVY = {"httpx", "httpcore", "sqlalchemy", "alembic", "rich", "structlog", "hypothesis", "pytest"}


def modules(cwd: Path, *args: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", RUN, *args], cwd=cwd, capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stderr.splitlines()[-1])
    return set(found)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    shutil.copy(REPO / "flowrun.yaml", root)
    for folder in ("flows", "lookups"):
        shutil.copytree(REPO / folder, root / folder)
    return root


def test_help_imports_click_and_little_else(project: Path) -> None:
    found = modules(project, "--help")
    assert not found & (HEAVY | {"yaml", "jinja2", "jmespath", "msgspec", "dataclasses", "xml", "email"})
    assert len([name for name in found if name.startswith("flowrun")]) < 8


def test_why_reads_no_yaml(project: Path) -> None:
    assert not modules(project, "why", "FR104") & (HEAVY | {"yaml", "jinja2", "jmespath"})


def test_validate_loads_no_client_no_store_and_nothing_to_draw_with(project: Path) -> None:
    found = modules(project, "validate", "--no-cache")
    assert "jinja2" in found and "flowrun.flow.check" in found
    assert not found & (HEAVY - {"httpx"} | {"ssl", "http.client", "email.message", "importlib.metadata"})


def test_an_unchanged_project_is_not_even_looked_at(project: Path) -> None:
    modules(project, "validate")
    found = modules(project, "validate")
    assert not found & (HEAVY | {"jinja2", "jmespath", "flowrun.flow", "flowrun.expressions", "flowrun_connectors"})
