"""Both sides of a flow compared as a whole, by key and mapped value, with control totals; and its repair.

Comparing reads: source, store and target. Repair puts what differs back into the inbox, from where the runner delivers
it through the one writer.
"""

from flowrun.reconcile.comparing import Report, compare
from flowrun.reconcile.repairing import repair
from flowrun.reconcile.spool import KINDS

__all__ = ["KINDS", "Report", "compare", "repair"]
