"""Where source, plan, store and writer meet, and nowhere else: one intake pass, then deliver until nothing is due."""

from flowrun.runner.guard import too_much
from flowrun.runner.intake import query_of, rewind
from flowrun.runner.mapping import ROUNDS, apply_all, resolve
from flowrun.runner.run import Summary, run_flow

__all__ = ["ROUNDS", "Summary", "apply_all", "query_of", "resolve", "rewind", "run_flow", "too_much"]
