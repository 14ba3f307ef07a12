"""Every setting, by subject, read once from the environment into one frozen object."""

from streamworkers.config.settings import Settings, load_settings

__all__ = ["Settings", "load_settings"]
