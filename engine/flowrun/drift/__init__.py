"""Drift: what arrives has changed its shape. Found over records that the store holds, before a record fails by it."""

from flowrun.drift.codes import missing_codes
from flowrun.drift.comparing import Limits, compare_profiles
from flowrun.drift.contracts import compare_contracts
from flowrun.drift.findings import Finding, Shown
from flowrun.drift.looking import Look, look
from flowrun.drift.profile import Profile, profile_of
from flowrun.drift.proposing import Patch, propose
from flowrun.drift.reads import Place, places_of

__all__ = [
    "Finding",
    "Limits",
    "Look",
    "Patch",
    "Place",
    "Profile",
    "Shown",
    "compare_contracts",
    "compare_profiles",
    "look",
    "missing_codes",
    "places_of",
    "profile_of",
    "propose",
]
