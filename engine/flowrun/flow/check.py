"""check: the files of a project → Flows and every mistake in them, in one pass, in file order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flowrun.connector import Registry
from flowrun.diagnostics import Diagnostic, Span, near
from flowrun.document import Document, Map, Scalar, parse
from flowrun.errors import InvalidFlow, ProjectError
from flowrun.flow.flow_checker import FlowChecker, Surroundings
from flowrun.flow.ignores import unignored
from flowrun.flow.model import Flow
from flowrun.flow.reading import Analyses, Reader
from flowrun.flow.rhs import Fragment
from flowrun.flow.settings import check_settings
from flowrun.flow.systems import Systems
from flowrun.flow.tables import Tables
from flowrun.project import FILE, Project

MAX_BYTES = 4_000_000  # a million characters of at most four bytes


@dataclass(frozen=True, slots=True)
class Checked:
    """flows: those without an error. diagnostics: of every file, flowrun.yaml first, then in file order.
    files: what was looked at. documents: every file that was read, by name."""

    flows: tuple[Flow, ...]
    diagnostics: tuple[Diagnostic, ...]
    files: tuple[str, ...]
    documents: Mapping[str, Document]

    @property
    def errors(self) -> int:
        return sum(d.severity == "error" for d in self.diagnostics)


def flow_files(root: Path, paths: Sequence[Path] = ()) -> list[Path]:
    """The flow files that ``paths`` mean (all of flows/ when empty), sorted, each once.

    Raises ProjectError for a path that is not there.
    """
    found: dict[Path, None] = {}
    for path in paths or (root / "flows",):
        if path.is_dir():
            for file in sorted((*path.rglob("*.yaml"), *path.rglob("*.yml"))):
                if file.name != FILE and not any(part.startswith(".") for part in file.relative_to(path).parts):
                    found[file.resolve()] = None
        elif path.is_file():
            if path.name != FILE:
                found[path.resolve()] = None
        elif paths:
            raise ProjectError(f"there is no file or folder '{path}'")
    return list(found)


def check_project(project: Project, registry: Registry, paths: Sequence[Path] = ()) -> Checked:
    """Check the files that ``paths`` name (all flows when empty), flowrun.yaml, and the fragments they use."""
    root = project.root.resolve()
    wanted = [shown(root, path) for path in flow_files(root, paths)]
    documents: dict[str, Document] = {}
    found: dict[str, list[Diagnostic]] = {FILE: list(project.diagnostics)}
    for name in wanted:
        documents[name], found[name] = _read(root / name, name)
    fragments = _fragments(root, documents, found)
    systems = Systems(project, registry)
    around = Surroundings(project, systems, Tables(root), fragments, Analyses())
    if project.document is not None and not project.document.broken:
        found[FILE] += check_settings(project, systems, around)
    flows: dict[str, Flow] = {}
    names: dict[str, Span] = {}
    for name in wanted:
        if documents[name].broken:
            continue
        checker = FlowChecker(documents[name], around)
        flow = checker.check()
        for one in checker.reader.found:
            here = found.setdefault(one.span.file, [])
            if one not in here:  # a fragment or a table is looked at by every flow that uses it
                here.append(one)
        if checker.name in names:
            message = f"another flow is named '{checker.name}'"
            related = (("there", names[checker.name]),)
            at = checker.name_span
            found[name].append(Diagnostic("FR022", message, at, help="choose another name", related=related))
        elif checker.name:
            names[checker.name] = checker.name_span
            if flow is not None:
                flows[name] = flow
    if not paths:
        for fragment in fragments.values():
            _unused(fragment, around, found)
    documents[FILE] = project.document or Document(FILE, "")
    for fragment in fragments.values():
        documents.setdefault(fragment.document.file, fragment.document)
    kept: list[Diagnostic] = []
    for file in (FILE, *sorted(found.keys() - {FILE})):
        diagnostics = sorted(found[file], key=lambda d: (d.span.start, d.span.line, d.code))
        kept += unignored(documents[file], diagnostics) if file in documents else diagnostics
    wrong = {d.span.file for d in kept if d.severity == "error"}
    good = tuple(flow for name, flow in flows.items() if name not in wrong)
    return Checked(good, tuple(kept), tuple(wanted), documents)


def load_flow(name_or_path: str, project: Project, registry: Registry) -> Flow:
    """One flow by its name or its file, ready to compile. Raises InvalidFlow, or ProjectError when there is none."""
    path = Path(name_or_path)
    candidates = [path] if path.is_file() else _named(project.root, name_or_path)
    checked = check_project(project, registry, candidates)
    if checked.errors:
        raise InvalidFlow([d for d in checked.diagnostics if d.severity == "error"])
    if not checked.flows:
        raise ProjectError(f"'{name_or_path}' holds no flow")
    return checked.flows[0]


def _named(root: Path, name: str) -> list[Path]:
    names: list[str] = []
    for path in flow_files(root) if (root / "flows").is_dir() else []:
        text = path.read_text(encoding="utf-8", errors="replace")
        found = re.search(r"^flow:\s*['\"]?([^\s'\"#]+)", text, re.MULTILINE)
        if found and found.group(1) == name:
            return [path]
        if found:
            names.append(found.group(1))
    guess = near(name, names)
    raise ProjectError(
        f"no flow is named '{name}'",
        help=f"did you mean '{guess}'?" if guess else f"flows of this project: {', '.join(names) or 'none'}",
    )


def shown(root: Path, path: Path) -> str:
    """A path as messages name it: from the project's root on, where it lies inside."""
    resolved = path.resolve()
    return resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else str(path)


def _read(path: Path, name: str) -> tuple[Document, list[Diagnostic]]:
    nowhere = Span(name, 1, 1, 1, 1)
    problem = None
    if path.stat().st_size > MAX_BYTES:
        help = "one flow a file, tables in lookups/"
        problem = Diagnostic("FR001", "the file is larger than 4 MB", nowhere, help=help)
    else:
        try:
            with path.open(encoding="utf-8", newline="") as file:  # line ends stay as they are: fixes count characters
                document = parse(file.read(), name)
            return document, list(document.problems)
        except UnicodeDecodeError as error:
            message = f"not UTF-8 text (byte {error.start})"
            problem = Diagnostic("FR002", message, nowhere, help="save the file as UTF-8")
    document = Document(name, "")
    document.problems.append(problem)
    return document, [problem]


def _fragments(root: Path, documents: dict[str, Document], found: dict[str, list[Diagnostic]]) -> dict[str, Fragment]:
    """Every fragment of the project by name; files that only hold ``fragment:`` are read besides the wanted ones."""
    everything = [shown(root, path) for path in flow_files(root)] if (root / "flows").is_dir() else []
    fragments: dict[str, Fragment] = {}
    for name in dict.fromkeys((*documents, *everything)):
        document = documents.get(name)
        if document is None:
            if not _may_be_fragment(root / name):
                continue
            document = parse((root / name).read_text(encoding="utf-8", errors="replace"), name)
        top = document.root
        title = top.get("fragment") if isinstance(top, Map) else None
        if not isinstance(top, Map) or not isinstance(title, Scalar):
            continue
        if title.text in fragments:
            other = fragments[title.text]
            message = f"another fragment is named '{title.text}'"
            related = (("there", other.document.span(0, 1)),)
            found.setdefault(name, []).append(Diagnostic("FR022", message, title.span, related=related))
            continue
        fields = top.get("map")
        needs = Reader(document).texts(top.get("needs"), "needs")
        fragments[title.text] = Fragment(title.text, document, needs, fields if isinstance(fields, Map) else None)
    return fragments


def _may_be_fragment(path: Path) -> bool:
    with path.open("rb") as file:
        return b"fragment:" in file.read(4096)


def _unused(fragment: Fragment, around: Surroundings, found: dict[str, list[Diagnostic]]) -> None:
    if fragment.name in around.fragments_used or fragment.document.file not in found:
        return
    top = fragment.document.root
    assert isinstance(top, Map)
    entry = top.entry("fragment")
    assert entry is not None
    message = f"no flow uses fragment '{fragment.name}'"
    help = "a fragment is checked where it is used"
    found[fragment.document.file].append(Diagnostic("FR199", message, entry.value.span, "lint", help=help))
