"""How much of a file is read at most, whatever it claims to hold."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamworkers.config import Settings


@dataclass(frozen=True, slots=True)
class FileLimits:
    """Largest size of unpacked data and of a line, in bytes, and the largest number of columns."""

    unpacked_bytes: int = 8192 << 20
    line_bytes: int = 1 << 18
    columns: int = 10_000

    @classmethod
    def of(cls, settings: "Settings") -> "FileLimits":
        """Return the limits of the settings."""
        return cls(settings.import_max_unpacked_mb << 20, settings.import_max_line_bytes, settings.import_max_columns)


DEFAULT_LIMITS = FileLimits()
