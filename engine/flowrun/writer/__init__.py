"""The one guarded write path: intent → call → outcome → receipt."""

from flowrun.writer.counts import Counts
from flowrun.writer.steps import StepWriter
from flowrun.writer.writer import SUB_BATCH, Seams, Writer

__all__ = ["SUB_BATCH", "Counts", "Seams", "StepWriter", "Writer"]
