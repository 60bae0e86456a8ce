"""compile: Flow → Plan, one generated function; apply: record → Mapped, Skipped, Rejected or Wanted."""

from flowrun.plan.outcomes import Controls, Identity, Mapped, Outcome, Rejected, SavedXref, Skipped, Wanted
from flowrun.plan.plan import Plan, compile_plan

__all__ = [
    "Controls",
    "Identity",
    "Mapped",
    "Outcome",
    "Plan",
    "Rejected",
    "SavedXref",
    "Skipped",
    "Wanted",
    "compile_plan",
]
