"""Cases: a file a user could have written (or a good one with a change), and what is found in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from frontkit import GOOD, REGISTRY, write_project

from flowrun.cli.output import as_text
from flowrun.diagnostics import Diagnostic
from flowrun.flow import Checked, check_project
from flowrun.project import load_project

CASES = Path(__file__).parents[1] / "cases"
GOLDEN = Path(__file__).parents[1] / "golden"
COVERAGE = ("FR188", "FR198")  # lints that the good flows have of themselves


@dataclass(frozen=True)
class Case:
    """change: (old, new) pairs, applied to the base in order, each to the first place. project: the same for
    flowrun.yaml. files: further files of the project."""

    path: Path
    name: str
    flow: str
    expect: list[dict[str, str]]
    files: dict[str, str] = field(default_factory=dict)


def read_case(path: Path) -> Case:
    body: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    flow = body.get("flow")
    if flow is None:
        flow = changed((GOOD / f"{body['base']}.yaml").read_text(encoding="utf-8"), body.get("change", ()))
    files = {name: _file(content) for name, content in body.get("files", {}).items()}
    if "project" in body:
        from frontkit import PROJECT

        files["flowrun.yaml"] = changed(PROJECT, body["project"])
    return Case(path, body["name"], flow, body.get("expect", []), files)


def _file(content: str) -> str:
    base = content.removeprefix("base: ")
    return (GOOD / f"{base}.yaml").read_text(encoding="utf-8") if base != content else content


def changed(text: str, changes: Any) -> str:
    for old, new in changes:
        assert old in text, f"{old!r} is not in the file that the case changes"
        text = text.replace(old, new, 1)
    return text


def run_case(case: Case, root: Path) -> tuple[Checked, list[Diagnostic]]:
    """The findings, without the coverage lints unless the case is about them."""
    write_project(root, {**case.files, "flows/flow.yaml": case.flow})
    checked = check_project(load_project(root), REGISTRY)
    wanted = {one["code"] for one in case.expect}
    return checked, [d for d in checked.diagnostics if d.code not in COVERAGE or d.code in wanted]


def shown(checked: Checked, found: list[Diagnostic]) -> str:
    return "\n".join(as_text(d, checked.documents.get(d.span.file)) for d in found) + "\n"


def facts(d: Diagnostic) -> dict[str, str]:
    place = f"{d.span.line}:{d.span.column}"
    made = {"code": d.code, "at": place if d.span.file == "flows/flow.yaml" else f"{d.span.file}:{place}"}
    if d.severity != "error":
        made["severity"] = d.severity
    if d.label:
        made["label"] = d.label
    if d.help:
        made["help"] = d.help
    return made
