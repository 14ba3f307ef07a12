"""Seals the audit log: a background service of schedulers."""

from psycopg_pool import ConnectionPool

from streamworkers.audit.seals import MOST_ROWS, seal_ended
from streamworkers.database import Connection
from streamworkers.logger import get_logger

log = get_logger()


class AuditSealer:
    """Each step seals what has ended since; two at once are harmless, because only one continues the chain."""

    name = "audit-sealer"
    scope = "all"
    interval_seconds = 10.0

    def __init__(self, pool: "ConnectionPool[Connection]") -> None:
        self._pool = pool

    def run_once(self) -> float | None:
        """Seal a portion, and log the seal, so that the chain's end is known elsewhere too."""
        with self._pool.connection() as connection:
            seal = seal_ended(connection)
        if seal is None:
            return None
        log.info("audit_sealed", rows=seal.rows, seal=seal.digest)
        return 0.0 if seal.rows >= MOST_ROWS else None
