"""plan: what a run would do to the target, record by record, and nothing done; apply: exactly that, or a refusal."""

from flowrun.planning.applying import Applied, apply_plan
from flowrun.planning.changes import Change
from flowrun.planning.document import PlanRefused, document, masked, read_plan, report, write_plan
from flowrun.planning.making import Entry, Proposal, make_plan
from flowrun.planning.target import target_info

__all__ = [
    "Applied",
    "Change",
    "Entry",
    "PlanRefused",
    "Proposal",
    "apply_plan",
    "document",
    "make_plan",
    "masked",
    "read_plan",
    "report",
    "target_info",
    "write_plan",
]
