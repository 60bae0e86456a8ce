"""Where source, plan, store and writer meet, and nowhere else: one intake pass, then deliver until nothing is due."""

from flowrun.runner.guard import check_guard, too_much
from flowrun.runner.intake import identified, query_of, rewind
from flowrun.runner.mapping import apply_all, resolve
from flowrun.runner.pausing import Watch, delivers_by, reads_from, refuse_paused
from flowrun.runner.run import SHARED_CLAIM, Drain, Summary, run_flow, worker_name

__all__ = [
    "SHARED_CLAIM",
    "Drain",
    "Summary",
    "Watch",
    "apply_all",
    "check_guard",
    "delivers_by",
    "identified",
    "query_of",
    "reads_from",
    "refuse_paused",
    "resolve",
    "rewind",
    "run_flow",
    "too_much",
    "worker_name",
]
