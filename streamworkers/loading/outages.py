"""Outages of providers, as the whole fleet sees them: one process probes, all runs wait, no attempts are spent.

A call that fails as if the provider were away opens an outage, unless the provider has answered since. While it lasts,
items are snoozed. One process at a time probes; the first answer ends the outage.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import psycopg

from streamworkers.errors import ItemError, PermanentError, StopRunError
from streamworkers.loading.providers.provider import Provider, ProviderError, RateLimitedError
from streamworkers.loading.purpose import Purpose, calling_for
from streamworkers.loading.run_notes import RunNotes
from streamworkers.logger import get_logger

_FIRST_PAUSES = 60  # the first pause is this part of the longest one
_LONGEST_PROBE = 5.0  # longest pauses: a prober that was killed is replaced after this time
_ERROR_CHARACTERS = 500
log = get_logger()


class PausedError(ItemError):
    """The provider is away; it is asked again at `until` (aware)."""

    def __init__(self, detail: str, until: datetime) -> None:
        super().__init__(detail)
        self.until = until


class AwayError(StopRunError):
    """The provider has been away for longer than a run waits."""


class CallFailure(NamedTuple):
    """Calls for one thing that failed as if the provider were away, the first of them begun at `begun_at`.

    The moments are those of `time.monotonic`. `is_answered_since` if the provider has answered another call since.
    """

    error: ProviderError
    begun_at: float
    failed_at: float
    is_answered_since: bool = False


class Outage(NamedTuple):
    """An outage of a provider: when it began, when it is probed next, how often it was, and the first error."""

    provider: str
    since: datetime
    next_probe_at: datetime
    probes: int
    error: str


_OPEN = """
INSERT INTO provider_outages AS o (provider, since, next_probe_at, probes, error)
VALUES (%(provider)s, clock_timestamp(), clock_timestamp() + make_interval(secs => %(pause)s), 0, %(error)s)
ON CONFLICT (provider) DO UPDATE SET since = excluded.since, ended_at = NULL, next_probe_at = excluded.next_probe_at,
    probes = 0, error = excluded.error WHERE o.ended_at IS NOT NULL
RETURNING provider"""

_READ = """
SELECT provider, since, next_probe_at, probes, error FROM provider_outages WHERE ended_at IS NULL AND provider = %s"""

_LAST = """
SELECT extract(epoch FROM clock_timestamp() - since)::float8, extract(epoch FROM clock_timestamp() - ended_at)::float8
FROM provider_outages WHERE provider = %s"""

_CLAIM = """
UPDATE provider_outages SET next_probe_at = clock_timestamp() + make_interval(secs => %s), probes = probes + 1
WHERE provider = %s AND ended_at IS NULL AND next_probe_at <= clock_timestamp()
RETURNING provider, since, next_probe_at, probes, error"""


def list_outages(connection: psycopg.Connection) -> list[Outage]:
    """Return the outages that last."""
    rows = connection.execute(
        "SELECT provider, since, next_probe_at, probes, error FROM provider_outages WHERE ended_at IS NULL ORDER BY 1"
    )
    return [Outage(*row) for row in rows]


@dataclass
class ProviderWatch:
    """What one batch of a run knows of its provider's outages.

    A run that has waited for `away_seconds` in one outage fails. `probe_seconds` is the longest pause between two
    probes; for so long after an answer to one, a failure is the item's if the provider answers another. `probing` is
    true while this batch is the probe.
    """

    connection: psycopg.Connection
    provider: Provider
    notes: RunNotes
    away_seconds: float
    probe_seconds: float
    probing: bool = False
    _answers: bool | None = None

    def require_there(self) -> None:
        """Return if the provider can be called.

        Raises PausedError while it is away, AwayError past the run's deadline, RateLimitedError if it cannot be probed
        now. One batch probes: by a call of the provider's own, or else by its first item.
        """
        outage = self._read()
        if outage is None:
            return
        self._require_patience(outage)
        claimed = self.connection.execute(_CLAIM, (_LONGEST_PROBE * self.probe_seconds, self.provider.name)).fetchone()
        if claimed is None:
            # Not until then: the prober of this moment may be answered sooner.
            raise PausedError(_describe(outage), min(outage.next_probe_at, self._next_probe(outage)))
        outage = Outage(*claimed)
        try:
            answered = self._probe()
        except RateLimitedError as error:
            self._probe_at(error.until)
            raise
        except ProviderError as error:
            if not error.may_be_away:
                self.note_answer()
                return
            raise self._stay_away(outage, error) from None
        except PermanentError:
            answered = True  # it answered that it will not do this
        if answered:
            self.note_answer()
        else:
            self.probing = True

    def note_answer(self) -> None:
        """End the outage, if one lasts: the provider has answered."""
        self.probing = False
        row = self.connection.execute(
            "UPDATE provider_outages SET ended_at = clock_timestamp() WHERE provider = %s AND ended_at IS NULL"
            " RETURNING extract(epoch FROM ended_at - since)::float8, probes",
            (self.provider.name,),
        ).fetchone()
        if row is not None:
            log.info("provider_back", provider=self.provider.name, seconds=round(row[0], 1), probes=row[1])

    def find_pause(self, failure: CallFailure) -> datetime | None:
        """Return until when to wait after a call that failed as if the provider were away; opens an outage.

        None if the item is to blame: the provider has answered since, or has just answered a probe and answers one now.
        """
        if self._is_of_outage(failure):
            outage = self._read()
            if outage is None:  # it has ended, as another worker has found out
                return datetime.now(UTC)
            if self.probing:
                return self._stay_away(outage, failure.error).until
            return min(outage.next_probe_at, self._next_probe(outage))
        if failure.is_answered_since or self._answers_again():
            return None
        words = {
            "provider": self.provider.name,
            "pause": self.probe_seconds / _FIRST_PAUSES,
            "error": str(failure.error)[:_ERROR_CHARACTERS],
        }
        if self.connection.execute(_OPEN, words).fetchone() is not None:
            log.warning("provider_call_failed", provider=self.provider.name, error=str(failure.error))
        outage = self._read()
        return datetime.now(UTC) if outage is None else outage.next_probe_at

    def _is_of_outage(self, failure: CallFailure) -> bool:
        """True if an outage lasts, or ended after the call had begun, which proves nothing against the item then.

        If the provider has answered since, the outage must have begun before the call failed.
        """
        row = self.connection.execute(_LAST, (self.provider.name,)).fetchone()
        if row is None:
            return False
        now, (begun_ago, ended_ago) = time.monotonic(), row
        if failure.is_answered_since and begun_ago < now - failure.failed_at:
            return False
        return ended_ago is None or ended_ago < now - failure.begun_at

    def _answers_again(self) -> bool:
        """True if the provider answered a probe a short while ago, and answers another one unless it cannot be asked.

        Without this question a provider that comes and goes would cost its items their attempts.
        """
        row = self.connection.execute(_LAST, (self.provider.name,)).fetchone()
        if row is None or row[1] is None or row[1] > self.probe_seconds:
            return False
        if self._answers is None:
            try:
                self._probe()
            except ProviderError as error:
                self._answers = not error.may_be_away
            except PermanentError:
                self._answers = True
            else:
                self._answers = True
        return self._answers

    def _stay_away(self, outage: Outage, error: ProviderError) -> PausedError:
        """Return when the provider is probed again after it did not answer this time."""
        self.probing = False
        until = self._next_probe(outage)
        self._probe_at(until)
        if outage.probes == 1:  # once for each outage
            log.error("provider_away", provider=outage.provider, since=outage.since.isoformat(), error=str(error))
        return PausedError(_describe(outage), until)

    def _require_patience(self, outage: Outage) -> None:
        paused = self.notes.write_pause(outage.since)
        if datetime.now(UTC) - paused.at > timedelta(seconds=self.away_seconds):
            raise AwayError(f"{_describe(outage)}, and the run has waited for it for {self.away_seconds:g} s")

    def _next_probe(self, outage: Outage) -> datetime:
        """Return when an outage is probed after a probe of now fails."""
        pause = self.probe_seconds * min(1.0, 2.0 ** min(outage.probes, 10) / _FIRST_PAUSES)
        return datetime.now(UTC) + timedelta(seconds=pause)

    def _probe_at(self, moment: datetime) -> None:
        self.connection.execute(
            "UPDATE provider_outages SET next_probe_at = %s WHERE provider = %s AND ended_at IS NULL",
            (moment, self.provider.name),
        )

    def _probe(self) -> bool:
        with calling_for(Purpose.PROBE):
            return self.provider.probe()

    def _read(self) -> Outage | None:
        row = self.connection.execute(_READ, (self.provider.name,)).fetchone()
        return None if row is None else Outage(*row)


def _describe(outage: Outage) -> str:
    return f"{outage.provider} is away since {outage.since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC: {outage.error}"
