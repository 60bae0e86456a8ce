"""A workflow as a plan: what its expressions say, and which step comes next. Pure, like the plan of a record."""

from flowrun.workflow.marks import Mark
from flowrun.workflow.pieces import Pieces
from flowrun.workflow.walk import Act, Asked, Broken, Walk

__all__ = ["Act", "Asked", "Broken", "Mark", "Pieces", "Walk"]
