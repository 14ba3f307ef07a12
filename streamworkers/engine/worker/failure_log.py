"""Logs what happens to items that fail."""

from streamworkers.engine.redis.entry import Entry
from streamworkers.engine.worker.decide import Decisions
from streamworkers.logger import get_logger

log = get_logger()
_MOST_LOGGED = 64


class FailureLog:
    """Logs failures with their stacks: each stack only with the first item of a run that has its error."""

    def __init__(self) -> None:
        self._logged: set[tuple[int, str]] = set()

    def add(self, decisions: Decisions) -> None:
        """Log the retries, snoozes and deaths among decisions."""
        for retry in decisions.retries:
            event = "item_snoozed" if retry.error is None else "item_failed"
            self._log(event, retry.entry, retry.error, retry.stack, in_seconds=round(retry.delay_seconds, 2))
        for entry, outcome in (*decisions.dead, *decisions.stopping[:1]):
            self._log("item_dead", entry, outcome.error, outcome.stack)

    def _log(self, event: str, entry: Entry, error: str | None, stack: str | None, **fields: object) -> None:
        if error is not None and stack is not None and (entry.run_id, error) not in self._logged:
            if len(self._logged) >= _MOST_LOGGED:
                self._logged.clear()
            self._logged.add((entry.run_id, error))
            fields["stack"] = stack
        words = {"run": entry.run_id, "job": entry.job, "symbol": entry.symbol, "attempt": entry.attempt, **fields}
        if error is None:
            log.info(event, **words)
        else:
            log.warning(event, error=error, **words)
