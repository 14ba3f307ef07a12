"""A private Redis and PostgreSQL in a folder, with nothing installed on the machine."""

from streamworkers.embedded.services import EmbeddedServices, ServiceStatus

__all__ = ["EmbeddedServices", "ServiceStatus"]
