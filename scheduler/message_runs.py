"""Makes the runs that a message asks for, in the caller's transaction."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from scheduler.message import LoadComplete, LoadRequest, RejectedError
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine.enqueue import record_run
from streamworkers.engine.job import Origin, RunRequest
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.keys import DATA_LOAD_COMPLETE
from streamworkers.engine.registry import Registry
from streamworkers.loading import LOAD_JOB
from streamworkers.market.bars.write import announce_bars
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.messages.history import MessageOutcome, ReceivedMessage
from streamworkers.schedules import store
from streamworkers.schedules.run_factory import Changes, Resolve, record_scheduled_run
from streamworkers.schedules.store import Schedule


@dataclass(frozen=True, slots=True)
class MadeRuns:
    """What came of a message, and its new runs, whose entries go to Redis after the commit."""

    outcome: MessageOutcome
    runs: tuple[Run, ...] = ()


@dataclass(frozen=True, slots=True)
class MessageRuns:
    """Makes the runs of messages: all of a message, or none. `providers` are those that a message may choose."""

    registry: Registry
    resolve: Resolve
    providers: frozenset[str] = frozenset()

    def make(self, connection: Connection, message: LoadComplete | LoadRequest, content_key: str) -> MadeRuns:
        """Make the runs of a message, or say why there are none; `content_key` stands for the id of one without.

        Raises RejectedError, and BadInputError and UnknownNameError as `enqueue` does.
        """
        match message:
            case LoadComplete():
                return self._make_analyses(connection, message, content_key)
            case LoadRequest():
                return self._make_load(connection, message)

    def _make_analyses(self, connection: Connection, message: LoadComplete, content_key: str) -> MadeRuns:
        if not message.run_analysis:
            return MadeRuns(MessageOutcome("ignored", "run_analysis", "run_analysis is false"))
        schedules = store.schedules_for_event(connection, DATA_LOAD_COMPLETE)
        if not schedules:
            raise RejectedError(
                "no_schedule",
                f"no schedule is started by {DATA_LOAD_COMPLETE}: `streamworkers schedules install-defaults`",
            )
        sound = [schedule for schedule in schedules if schedule.definition is not None]
        if not sound:
            schedules[0].require_definition()
        enabled = [schedule for schedule in sound if schedule.require_definition().enabled]
        if not enabled:
            return MadeRuns(MessageOutcome("ignored", "paused", f"schedule {sound[0].name} is paused"))
        found = [
            self._record(connection, schedule, message, timeframe, content_key)
            for schedule in enabled
            for timeframe in message.timeframes
        ]
        return _sum_up(found)

    def _make_load(self, connection: Connection, request: LoadRequest) -> MadeRuns:
        if LOAD_JOB not in self.registry:
            raise RejectedError("unknown_job", f"job {LOAD_JOB!r}, which loads bars, is not installed")
        if request.provider is not None:
            require_provider(request.provider, self.providers)
        parameters: dict[str, Any] = {"run_analysis": request.run_analysis, "open_when_alone": True}
        parameters |= {name: value for name in ("years", "provider") if (value := getattr(request, name)) is not None}
        # Symbols decide what is loaded; beside them a universe is a name only, and need not exist here.
        symbols = request.symbols or tuple(self.resolve(connection, request.universe or ""))
        wanted = RunRequest(
            job=LOAD_JOB,
            symbols=symbols,
            target=request.universe or ",".join(symbols),
            parameters=parameters,
            idempotency_key=request.key,
            origin=Origin("event", external_id=request.job_id, requested_by=request.requested_by),
            timeframes=request.timeframes,
            priority=request.priority,
        )
        return _sum_up([record_run(connection, self.registry, wanted)])

    def _record(
        self, connection: Connection, schedule: Schedule, message: LoadComplete, timeframe: str, content_key: str
    ) -> tuple[Run, bool]:
        key = message.key(timeframe) or f"{DATA_LOAD_COMPLETE}:content:{content_key}:{timeframe}"
        return record_scheduled_run(
            connection,
            self.registry,
            self.resolve,
            schedule,
            Origin("event", schedule.id, schedule.name, None, message.job_id or message.event_id, message.requested_by),
            Changes(symbols=message.symbols, timeframe=timeframe, idempotency_key=f"{schedule.name}:{key}"),
        )


def announce_loaded(connection: Connection, message: LoadComplete | LoadRequest) -> None:
    """Record that another program has changed bars; our own loads record it with the bars."""
    if isinstance(message, LoadComplete) and not message.is_own:
        for name in message.timeframes:
            announce_bars(connection, TIMEFRAMES[name], message.symbols)


def make_content_key(message: ReceivedMessage, content_digest: bytes | None) -> str:
    """What a message without an id is known by: its content and when it was sent, to the millisecond."""
    return f"{(content_digest or message.raw_digest).hex()}:{round(message.moment.timestamp() * 1000)}"


def find_message_providers(settings: Settings) -> frozenset[str]:
    """The providers that a message may choose."""
    return frozenset({settings.load_provider, *filter(None, settings.message_providers.split(","))})


def require_provider(name: str, allowed: Collection[str]) -> None:
    """Raise RejectedError unless a message may choose this provider."""
    if name not in allowed:
        rule = f"only {', '.join(sorted(allowed))} may be" if allowed else "none may be"
        raise RejectedError(
            "bad_field", f"provider {name!r} is chosen by a message, and {rule}: STREAMWORKERS_MESSAGE_PROVIDERS"
        )


def _sum_up(found: list[tuple[Run, bool]]) -> MadeRuns:
    new = tuple(run for run, is_new in found if is_new)
    if not new:
        known = ", ".join(str(run.id) for run, _ in found)
        detail = f"what it asks for exists already: run {known}"
        return MadeRuns(MessageOutcome("repeated", "id", detail, tuple(run.id for run, _ in found)))
    return MadeRuns(MessageOutcome("accepted", "new", "", tuple(run.id for run in new)), new)
