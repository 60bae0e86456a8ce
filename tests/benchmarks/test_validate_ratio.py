"""What validate costs, as ratios in one run: against imports, and against YAML's own C loader.

Run with: pytest -m benchmark tests/benchmarks/test_validate_ratio.py -s
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from figures import figure

pytestmark = pytest.mark.benchmark
REPO = Path(__file__).parents[2]
FLOWS = 1_000
FLOWRUN = "from flowrun.cli.main import main; main()"
LOAD = """
import pathlib, yaml
for path in pathlib.Path("flows").rglob("*.yaml"):
    yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., float]:
    """Processor seconds that a fresh Python takes, the best of a few; byte code is kept, as in an installed package."""
    environ = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path_factory.mktemp("pyc"))}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)

    def run(code: str, *args: str, cwd: Path, times: int = 7, exits: int = 0) -> float:
        best = 1e9
        for _ in range(times):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run([sys.executable, "-c", code, *args], cwd=cwd, env=environ, capture_output=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
            assert done.returncode == exits, done.stdout + done.stderr
        return best

    return run


def project(root: Path) -> Path:
    for folder in ("flows", "lookups", "contracts", "samples"):
        if (REPO / folder).is_dir():
            shutil.copytree(REPO / folder, root / folder)
    shutil.copy(REPO / "flowrun.yaml", root)
    return root


def test_help_and_one_flow(python: Callable[..., float], tmp_path: Path) -> None:
    root = project(tmp_path)
    one = next(path for path in sorted((root / "flows").rglob("*.yaml")) if "orders" in path.name)
    click = python("import click", cwd=root)
    figure("flowrun --help / import click", python(FLOWRUN, "--help", cwd=root) / click, most=1.7)
    libraries = python("import click, yaml, jinja2, jmespath", cwd=root)
    again = python(FLOWRUN, "validate", str(one), cwd=root) / libraries
    figure("validate one flow / its libraries", again, most=2.0)
    cold = python(FLOWRUN, "validate", "--no-cache", str(one), cwd=root) / libraries
    figure("the same, nothing kept", cold, most=2.0)


def test_a_thousand_flows(python: Callable[..., float], tmp_path: Path) -> None:
    root = project(tmp_path)
    templates = sorted(path for path in (root / "flows").rglob("*.yaml") if "fragment:" not in path.read_text())
    for number in range(FLOWS):
        template = templates[number % len(templates)]
        text = template.read_text(encoding="utf-8")
        name = next(line.split(":")[1].split("#")[0].strip() for line in text.splitlines() if line.startswith("flow:"))
        text = text.replace(f"flow: {name}", f"flow: {name}-{number}", 1).replace("> 1000", f"> {1000 + number}")
        (root / "flows" / f"copy-{number}.yaml").write_text(text, encoding="utf-8")
    load = python(LOAD, cwd=root, times=3)
    first = 1e9
    for _ in range(2):
        shutil.rmtree(root / ".flowrun", ignore_errors=True)
        first = min(first, python(FLOWRUN, "validate", cwd=root, times=1))
    again = python(FLOWRUN, "validate", cwd=root, times=3)
    figure(f"validate {FLOWS:,} flows / yaml.load with the C loader", first / load, most=3.0)
    figure("the second time / the first", again / first, most=0.5)
