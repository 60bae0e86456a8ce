"""The admin API: one table of routes that serves, that says who may, and that the OpenAPI document is made of."""

from flowrun.service.admin.app import LOOPBACK, AdminApp, Split
from flowrun.service.admin.table import ROUTES

__all__ = ["LOOPBACK", "ROUTES", "AdminApp", "Split"]
