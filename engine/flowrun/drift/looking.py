"""One look at a flow: the records that came in lately against those before them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowrun.drift.codes import missing_codes
from flowrun.drift.comparing import FEWEST, Limits, Records, compare_profiles
from flowrun.drift.findings import Finding
from flowrun.drift.profile import profile_of
from flowrun.drift.reads import places_of
from flowrun.flow.model import Expr, Flow
from flowrun.masking import Mask, mask_of

_PATH = re.compile(r"\w+(\.\w+)*")


@dataclass(frozen=True, slots=True)
class Look:
    """before, recent: how many records were held against each other. enough: whether they were enough to compare;
    codes without a row are found all the same."""

    flow: Flow
    findings: tuple[Finding, ...]
    before: int
    recent: int

    @property
    def enough(self) -> bool:
        return min(self.before, self.recent) >= FEWEST

    @property
    def share(self) -> float:
        """The largest of its findings."""
        return max((one.share for one in self.findings), default=0.0)


def look(
    flow: Flow,
    root: Path,
    inputs: Sequence[tuple[str, Mapping[str, Any]]],
    recent: int = 200,
    limits: Limits | None = None,
) -> Look:
    """inputs: (key, record) as the store holds them, oldest first. recent: how many of the last are looked at; fewer
    where that would leave too few before them. Pure but for the flow's own text."""
    recent = min(recent, max(len(inputs) // 3, min(FEWEST, len(inputs))))
    cut = len(inputs) - recent
    places = places_of(flow, root)
    mask = mask_of(flow)
    sides = []
    for part in (inputs[:cut], inputs[cut:]):
        records = [record for _, record in part]
        keys = [key for key, _ in part]
        sides.append(Records(profile_of(records), keys, [mask.record(one) for one in records] if mask else records))
    name = "group" if flow.source.group_by is not None else flow.source.record
    found = compare_profiles(name, places, sides[0], sides[1], limits or Limits(), mask.paths)
    rows = missing_codes(
        flow, places, sides[1].keys, [record for _, record in inputs[cut:]], lambda expr: _is_secret(mask, expr)
    )
    told = {one for finding in rows for one in finding.places}
    found = [one for one in found if one.kind != "code" or not set(one.places) <= told]  # said better by the table
    return Look(flow, (*found, *rows), cut, recent)


def _is_secret(mask: Mask, expr: Expr) -> bool:
    """Where it is not certain what an expression reads, it is."""
    return bool(mask) and (_PATH.fullmatch(expr.text.strip()) is None or mask.reads(expr.text.strip()))
