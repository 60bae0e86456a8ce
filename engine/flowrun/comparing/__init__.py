"""diff: what two versions of a flow make of the same records, grouped by field and by cause."""

from flowrun.comparing.differences import Comparison, Difference, Side, compare, records_of
from flowrun.comparing.revision import Commit, commit_of, project_at

__all__ = ["Commit", "Comparison", "Difference", "Side", "commit_of", "compare", "project_at", "records_of"]
