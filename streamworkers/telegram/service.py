"""The bot process: one of many polls, and each answers what it has handled."""

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from psycopg_pool import ConnectionPool
from pydantic import SecretStr

from streamworkers.config import Settings
from streamworkers.database import Connection, SessionLimits, open_pool
from streamworkers.engine.host.fault_board import list_troubles
from streamworkers.engine.host.fault_metrics import STOPPED, FaultCollector
from streamworkers.engine.host.heartbeat import ProcessHeartbeat
from streamworkers.engine.host.host import Host, stop_loops
from streamworkers.engine.host.loop import Loop
from streamworkers.engine.host.metrics import DatabasePoolCollector
from streamworkers.engine.host.readiness import find_postgres_trouble, find_redis_trouble
from streamworkers.engine.redis.streams import open_streams
from streamworkers.errors import RedisUnavailableError
from streamworkers.notifications.channels.http import AnswerBound
from streamworkers.notifications.channels.telegram_api import TelegramApi
from streamworkers.notifications.delivery.sender import open_sender
from streamworkers.telegram.answering import AnswerLoop
from streamworkers.telegram.metrics import BotMetrics
from streamworkers.telegram.poller import Poller
from streamworkers.telegram.sending import AnswerSender

_CONNECTIONS = 4


@dataclass(frozen=True, slots=True)
class BotOptions:
    """The options of `streamworkers telegram run`."""

    metrics_host: str
    metrics_port: int | None


class _Waiting(Loop):
    """The main thread's loop: it waits for a signal."""

    def turn(self) -> None:
        """Wait for a second, or for a signal."""
        self.succeeded()
        self._stop_requested.wait(1.0)


class TelegramBot:
    """A bot process; any number of them may run, start and stop at any time."""

    def __init__(
        self, settings: Settings, token: SecretStr, redis_url: str, database_url: str, options: BotOptions
    ) -> None:
        self.host = Host("telegram", on_second_signal=lambda: os._exit(1), failing_seconds=settings.failing_seconds)
        self.metrics = BotMetrics()
        self._database_url = database_url
        self._streams = open_streams(redis_url, settings.key_prefix, settings.message_prefix)
        self._pool: ConnectionPool[Connection] = open_pool(
            database_url, application=self.host.id, max_size=_CONNECTIONS, limits=SessionLimits.of(settings)
        )
        self._api = TelegramApi(token, settings.telegram_url, connections=4, bound=AnswerBound.of(settings))
        self._main = self.host.add(_Waiting("main", self.host.signals))
        self._sender = AnswerSender(self._pool, open_sender(settings, self._streams.client))
        self._answers = self.host.add(AnswerLoop(self._api, self._sender))
        leases = self._streams.leases
        self.poller = self.host.add(
            Poller(self._api, settings, self._pool, leases, self.host.id, self._answers.add, self.metrics)
        )
        self.poller.on_fatal = self.host.signals.set
        self.host.add(ProcessHeartbeat(self._pool, "telegram", self.host.id, self._describe_doing))
        self.metrics.registry.register(DatabasePoolCollector(self._pool))
        self.metrics.registry.register(FaultCollector(STOPPED, self.host.faults.standing))
        self.metrics.registry.register(self.host.collect_failing())
        self.host.serve(options.metrics_host, options.metrics_port, self.metrics.registry, self.not_ready)

    def run(self) -> None:
        """Work until SIGTERM or SIGINT; raises BadTokenError if Telegram does not know the token."""
        self.host.start(self._main)
        self._main.run()
        stop_loops([loop for loop in self.host.loops if loop is not self._main])
        with suppress(RedisUnavailableError):
            self.poller.release()
        self.close()
        self.host.finish()
        if self.poller.fatal is not None:
            raise self.poller.fatal

    def close(self) -> None:
        """Stop serving, and close all connections; once is enough."""
        self.host.stop_serving()
        self._pool.close()
        self._streams.close()
        self._api.close()
        self._sender.close()

    def not_ready(self) -> list[str]:
        """What keeps commands from being answered now."""
        probed = find_redis_trouble(self._streams), find_postgres_trouble(self._database_url, self.host.id)
        found = list_troubles(probed, self.host.faults.standing()) + self.host.failures.list_troubles()
        seconds = self.poller.state.conflict_seconds
        if seconds is not None:
            found.append(f"another program has been asking for this bot's updates for {seconds:.0f} s")
        elif self.poller.state.error is not None:
            found.append(f"Telegram cannot be asked for updates: {self.poller.state.error}")
        return found

    def _describe_doing(self) -> dict[str, Any]:
        state = self.poller.state
        seconds = state.conflict_seconds
        return {
            "services": ["telegram"] if state.is_polling else [],
            "polls": state.is_polling,
            "conflict_seconds": None if seconds is None else round(seconds),
            "error": state.error,
            **self.host.describe_troubles(),
        }
