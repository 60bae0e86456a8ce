"""check: the files of a project → Flows and every mistake in them, in one pass, in file order."""

from __future__ import annotations

import gc
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flowrun.connector import Registry
from flowrun.diagnostics import Diagnostic, Span, near
from flowrun.document import Document, Map, Scalar, parse
from flowrun.errors import InvalidFlow, ProjectError
from flowrun.expressions.converters import Converter
from flowrun.flow.compounds import Fragment
from flowrun.flow.flow_checker import FlowChecker, Surroundings
from flowrun.flow.ignores import MARK, unignored
from flowrun.flow.model import Flow
from flowrun.flow.reading import Analyses, Reader
from flowrun.flow.settings import check_settings
from flowrun.flow.systems import Systems
from flowrun.flow.tables import Tables
from flowrun.project import FILE, Project, flow_files, shown

MAX_BYTES = 4_000_000  # a million characters of at most four bytes


@dataclass(frozen=True, slots=True)
class Checked:
    """flows: those without an error. diagnostics: of every file, flowrun.yaml first, then in file order.

    files: what was looked at; fragments: those of them that hold one. documents: every file that was read, by name.
    tables: files that lookups named, there or not. converters: of the project, in Python.
    """

    flows: tuple[Flow, ...]
    diagnostics: tuple[Diagnostic, ...]
    files: tuple[str, ...]
    documents: Mapping[str, Document]
    tables: tuple[str, ...] = ()
    fragments: tuple[str, ...] = ()
    converters: Mapping[str, Converter] = field(default_factory=dict)

    @property
    def errors(self) -> int:
        return sum(d.severity == "error" for d in self.diagnostics)


def check_project(project: Project, registry: Registry, paths: Sequence[Path] = ()) -> Checked:
    """Check the files that ``paths`` name (all flows when empty), flowrun.yaml, and the fragments they use."""
    collecting = gc.isenabled()
    gc.disable()  # a thousand flows are millions of small objects without cycles; half the time went into looking
    try:
        return _Run(project, registry, paths).checked()
    finally:
        if collecting:
            gc.enable()


class _Run:
    """One check of a project: findings by file, flows by file."""

    def __init__(self, project: Project, registry: Registry, paths: Sequence[Path]) -> None:
        self.project = project
        self.root = project.root.resolve()
        self.whole = not paths
        self.wanted = [shown(self.root, path) for path in flow_files(self.root, paths)]
        self.documents: dict[str, Document] = {FILE: project.document or Document(FILE, "")}
        self.found: dict[str, list[Diagnostic]] = {FILE: list(project.diagnostics)}
        self.flows: dict[str, Flow] = {}
        self.names: dict[str, Span] = {}
        systems = Systems(project, registry)
        self.around = Surroundings(project, systems, Tables(self.root), self._fragments(), Analyses())
        if project.document is not None and not project.document.broken:
            self.found[FILE] += check_settings(project, systems, self.around)

    def checked(self) -> Checked:
        for name in self.wanted:
            document = self._document(name)
            if not document.broken:
                self._check(name, document)
            if "fragment:" not in document.text and MARK not in document.text:
                document.root = None  # only the text is wanted from here on
        if self.whole:
            for fragment in self.around.fragments.values():
                self._unused(fragment)
        kept: list[Diagnostic] = []
        for file in (FILE, *sorted(self.found.keys() - {FILE})):
            diagnostics = sorted(self.found[file], key=lambda d: (d.span.start, d.span.line, d.code))
            kept += unignored(self.documents[file], diagnostics) if file in self.documents else diagnostics
        wrong = {d.span.file for d in kept if d.severity == "error"}
        good = tuple(flow for name, flow in self.flows.items() if name not in wrong)
        fragments = tuple(
            one.document.file for one in self.around.fragments.values() if one.document.file in self.found
        )
        return Checked(
            good,
            tuple(kept),
            tuple(self.wanted),
            self.documents,
            self.around.tables.names,
            fragments,
            self.around.converters,
        )

    def _check(self, name: str, document: Document) -> None:
        checker = FlowChecker(document, self.around)
        flow = checker.check()
        for one in checker.reader.found:
            here = self.found.setdefault(one.span.file, [])
            if one.span.file == name or one not in here:  # a fragment is looked at by every flow that uses it
                here.append(one)
        if checker.name in self.names:
            message = f"another flow is named '{checker.name}'"
            related = (("there", self.names[checker.name]),)
            at = checker.name_span
            self.found[name].append(Diagnostic("FR022", message, at, help="choose another name", related=related))
        elif checker.name:
            self.names[checker.name] = checker.name_span
            if flow is not None:
                self.flows[name] = flow

    def _document(self, name: str) -> Document:
        if name not in self.documents:
            self.documents[name] = _read(self.root / name, name)
            self.found.setdefault(name, []).extend(self.documents[name].problems)
        return self.documents[name]

    def _fragments(self) -> dict[str, Fragment]:
        """Every fragment of the project by name."""
        names = [shown(self.root, path) for path in flow_files(self.root)] if (self.root / "flows").is_dir() else []
        fragments: dict[str, Fragment] = {}
        for name in dict.fromkeys((*self.wanted, *names)):
            if not _may_be_fragment(self.root / name):
                continue
            document = self._document(name)
            if name not in self.wanted:
                del self.found[name]  # what is wrong with it is said only where it is used
            top = document.root
            title = top.get("fragment") if isinstance(top, Map) else None
            if not isinstance(top, Map) or not isinstance(title, Scalar):
                continue
            if title.text in fragments:
                message = f"another fragment is named '{title.text}'"
                related = (("there", fragments[title.text].document.span(0, 1)),)
                self.found.setdefault(name, []).append(Diagnostic("FR022", message, title.span, related=related))
                continue
            fields = top.get("map")
            needs = Reader(document).texts(top.get("needs"), "needs")
            fragments[title.text] = Fragment(title.text, document, needs, fields if isinstance(fields, Map) else None)
        return fragments

    def _unused(self, fragment: Fragment) -> None:
        if fragment.name in self.around.fragments_used:
            return
        top = fragment.document.root
        title = top.get("fragment") if isinstance(top, Map) else None
        if title is not None:
            message = f"no flow uses fragment '{fragment.name}'"
            help = "a fragment is checked where it is used"
            self.found[fragment.document.file].append(Diagnostic("FR199", message, title.span, "lint", help=help))


def load_flow(name_or_path: str, project: Project, registry: Registry) -> Flow:
    """One flow by its name or its file, ready to compile. Raises InvalidFlow, or ProjectError when there is none."""
    path = Path(name_or_path)
    candidates = [path] if path.is_file() else named_flow(project.root, name_or_path)
    checked = check_project(project, registry, candidates)
    if checked.errors:
        raise InvalidFlow([d for d in checked.diagnostics if d.severity == "error"])
    if not checked.flows:
        raise ProjectError(f"'{name_or_path}' holds no flow")
    return checked.flows[0]


def named_flow(root: Path, name: str) -> list[Path]:
    """The file of a flow. Raises ProjectError with the names there are."""
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


def _read(path: Path, name: str) -> Document:
    try:
        size = path.stat().st_size
    except OSError as error:
        return _unreadable(name, "FR002", f"the file cannot be read: {error.strerror}", "check its permissions")
    if size > MAX_BYTES:
        return _unreadable(name, "FR001", "the file is larger than 4 MB", "one flow a file, tables in lookups/")
    try:
        with path.open(encoding="utf-8", newline="") as file:  # line ends stay as they are: fixes count characters
            return parse(file.read(), name)
    except OSError as error:
        return _unreadable(name, "FR002", f"the file cannot be read: {error.strerror}", "check its permissions")
    except UnicodeDecodeError as error:
        return _unreadable(name, "FR002", f"not UTF-8 text (byte {error.start})", "save the file as UTF-8")


def _unreadable(name: str, code: str, message: str, help: str) -> Document:
    document = Document(name, "")
    document.problems.append(Diagnostic(code, message, Span(name, 1, 1, 1, 1), help=help))
    return document


def _may_be_fragment(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return b"fragment:" in file.read(4096)
    except OSError:
        return False
