"""Promotion: what differs between environments, and one bundle that goes from one to the next, whole or not at all."""

from flowrun.promotion.approving import approve, approved_by, make_key
from flowrun.promotion.bundle import Approval, Bundle, BundleRefused, Manifest, read_bundle
from flowrun.promotion.environments import Change, View, changes, view_of
from flowrun.promotion.making import Replayed, make_bundle
from flowrun.promotion.places import project_in
from flowrun.promotion.placing import Place, Placed
from flowrun.promotion.refusing import check_bundle, check_release

__all__ = [
    "Approval",
    "Bundle",
    "BundleRefused",
    "Change",
    "Manifest",
    "Place",
    "Placed",
    "Replayed",
    "View",
    "approve",
    "approved_by",
    "changes",
    "check_bundle",
    "check_release",
    "make_bundle",
    "make_key",
    "project_in",
    "read_bundle",
    "view_of",
]
