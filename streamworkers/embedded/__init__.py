"""A private Redis and PostgreSQL in a folder, run from Python packages instead of a system installation."""

from streamworkers.embedded.services import EmbeddedServices, ServiceStatus

__all__ = ["EmbeddedServices", "ServiceStatus"]
