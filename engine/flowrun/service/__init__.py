"""The long-running service: events at the door, passes by the clock, deliveries as they become due."""

from flowrun.service.deployment import Deployed, Deployment, load_flows
from flowrun.service.service import Service

__all__ = ["Deployed", "Deployment", "Service", "load_flows"]
