"""What is shown of records: through the mask of their flow, on a screen and over the network alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flowrun.connector import discover
from flowrun.document import Map, Scalar, Seq, parse
from flowrun.errors import FlowrunError, ProjectError
from flowrun.flow import load_flow, named_flow
from flowrun.flow.model import Flow
from flowrun.masking import Mask, Path, mask_of, path_of
from flowrun.plan.explain import Why
from flowrun.project import Project

if TYPE_CHECKING:
    from flowrun.store import Row


class Masks:
    """Of the flows of a project, each read when one of its records is shown. known: flows as they are served, whatever
    their files say by now."""

    def __init__(self, project: Project, known: Iterable[Flow] = ()) -> None:
        self._project = project
        self._of: dict[str, Mask] = {flow.name: mask_of(flow) for flow in known}

    def of(self, flow: str) -> Mask:
        if flow not in self._of:
            self._of[flow] = _mask(self._project, flow)
        return self._of[flow]

    def rows(self, rows: Iterable[Row]) -> list[Row]:
        return [self.of(row.flow).row(row) for row in rows]


def whys(mask: Mask, fields: Iterable[Why], payload: Any, body: Any = None) -> list[Why]:
    """Explanations as they may be shown."""
    if not mask:
        return list(fields)
    return [
        replace(
            why,
            steps=[mask.step(step, why.path, payload, body) for step in why.steps],
            result=mask.body(mask.value(why.path, why.result), payload),
            failed=mask.text(why.failed, payload, body, why.path),
        )
        for why in fields
    ]


def _mask(project: Project, flow: str) -> Mask:
    """Of a flow that is not valid now: by its words alone, and then nothing that was made is shown."""
    try:
        text = named_flow(project.root, flow)[0].read_text(encoding="utf-8", errors="replace")
    except ProjectError:  # its file is gone: only what the project says is known
        return _unsure([path_of(one) for one in project.mask])
    if not project.mask and "privacy" not in text:
        return Mask(())
    try:
        return mask_of(load_flow(flow, project, discover()))
    except FlowrunError:
        own = [path_of(one)[1:] for one in _written(text)]
        return _unsure([*own, *(path_of(one) for one in project.mask)])


def _unsure(paths: Sequence[Path]) -> Mask:
    grouped = [("rows", "[]", *path) for path in paths]
    return Mask([*paths, *grouped], [()] if paths else [])


def _written(text: str) -> list[str]:
    root = parse(text, "flow").root
    privacy = root.get("privacy") if isinstance(root, Map) else None
    listed = privacy.get("mask") if isinstance(privacy, Map) else None
    items = listed.items if isinstance(listed, Seq) else [listed]
    return [item.text for item in items if isinstance(item, Scalar)]
