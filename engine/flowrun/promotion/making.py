"""Making a bundle: the files that decide what the project does, and the evidence that it was tried."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from flowrun import __version__
from flowrun.comparing import Comparison, commit_of
from flowrun.connector import Registry
from flowrun.converters import failures
from flowrun.errors import InvalidFlow, ProjectError
from flowrun.flow import check_project
from flowrun.project import FILE, Project
from flowrun.promotion.bundle import FORM, Bundle, Git, Manifest, Tried, new_bundle, sha256
from flowrun.promotion.environments import changes, view_of
from flowrun.testing.flow_tests import run_tests
from flowrun.values import Clock

FOLDERS = ("flows", "lookups", "contracts", "samples")
MOST_CAUSES = 50  # of one flow


@dataclass(frozen=True, slots=True)
class Replayed:
    """against: what the records were compared with. flows: flow → its comparison, or why there is none."""

    against: str
    flows: Mapping[str, Comparison | str]


def make_bundle(
    project: Project, source: str, target: str, registry: Registry, *, by: str, now: Clock, replayed: Replayed | None
) -> Bundle:
    """The project for environment ``target``, as it was tried in ``source``. The same commit gives the same bundle.

    Raises InvalidFlow, and ProjectError: an environment that is not there, a file that is a link.
    """
    here, there = project.environment(source), project.environment(target)
    checked = check_project(project, registry)
    wrong = [one for one in checked.diagnostics if one.severity == "error"]
    if wrong:
        raise InvalidFlow(wrong)
    values = project.environment("test" if "test" in project.environments else None).values
    results = [result for flow in checked.flows for result in run_tests(flow, values)]
    failed = [f"{one.flow.name}: {one.test.name}" for one in results if not one.passed]
    failed += [f"converter: {said}" for own in checked.converters.values() for said in failures(own)]
    files = _files(project, checked.tables)
    commit = commit_of(project.root, (FILE, *FOLDERS, *checked.tables))
    at = commit.at if commit is not None and commit.clean else _moment(now)
    manifest = Manifest(
        bundle=FORM,
        project=project.name,
        source=here.name,
        target=there.name,
        made_at=at,
        made_by=by,
        flowrun=__version__,
        git=Git(commit.name, commit.clean) if commit is not None else None,
        files={name: sha256(content) for name, content in sorted(files.items())},
        flows={flow.name: flow.hash for flow in sorted(checked.flows, key=lambda flow: flow.name)},
        converters=_distributions(project.converters),
        lints=len(checked.diagnostics),
        tests=Tried(sum(one.passed for one in results), len(failed), tuple(failed)),
        against=replayed.against if replayed is not None else None,
        replayed={name: _told(one) for name, one in replayed.flows.items()} if replayed is not None else None,
        environments=_environments(project, source, target, registry),
    )
    return new_bundle(manifest, files)


def _moment(now: Clock) -> str:
    """SOURCE_DATE_EPOCH where it is set, as other tools that make the same file twice take it."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    moment = datetime.fromtimestamp(int(given), UTC) if given.isascii() and given.isdigit() else now()
    return moment.replace(microsecond=0).isoformat()


def _files(project: Project, tables: tuple[str, ...]) -> dict[str, bytes]:
    root = project.root
    secrets = (root / project.secrets_dir).resolve() if project.secrets_dir else None
    paths = [root / FILE, *(root / name for name in tables)]
    for folder in FOLDERS:
        paths += sorted((root / folder).rglob("*")) if (root / folder).is_dir() else ()
    found: dict[str, bytes] = {}
    for path in paths:
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
        if any(part.startswith(".") for part in Path(name).parts) or (path.is_dir() and not path.is_symlink()):
            continue
        if not path.resolve().is_relative_to(root.resolve()) or path.is_symlink():
            raise ProjectError(f"{name} is a link, or lies outside the project", help="put the file itself there")
        if path.is_file() and not (secrets is not None and path.resolve().is_relative_to(secrets)):
            found[name] = path.read_bytes()
    return found


def _distributions(names: tuple[str, ...]) -> dict[str, str]:
    """Converter → the installed distribution that brings it: its code stands in no project."""
    known = {point.name: point.dist for point in entry_points(group="flowrun.converters")}
    return {
        name: f"{dist.name} {dist.version}" if (dist := known.get(name)) is not None else "unknown" for name in names
    }


def _environments(project: Project, source: str, target: str, registry: Registry) -> list[dict[str, Any]]:
    """Without what is set on this machine: that says nothing of another one."""
    views = [view_of(project, project.environment(name), registry, {}) for name in (source, target)]
    kept = [one for one in changes(*views) if one.kind not in ("secret", "variable")]
    return [{name: value for name, value in asdict(one).items() if value} for one in kept]


def _told(found: Comparison | str) -> dict[str, Any]:
    """Counts and causes; no value of a record, since a bundle travels."""
    if isinstance(found, str):
        return {"not_replayed": found}
    causes = [
        {
            "field": one.field.partition(": ")[0],
            "records": one.records,
            "cause": f"{one.cause.kind}: {one.cause.what.partition(' ')[0]}",
            "place": one.cause.new_place or one.cause.old_place,
        }
        for one in sorted(found.differences, key=lambda one: -one.records)
    ]
    return {"records": found.records, "differing": found.differing, "causes": causes[:MOST_CAUSES]}
