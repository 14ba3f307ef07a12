"""The loop that asks Telegram for updates, in one process of many, and handles them in their order."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from psycopg_pool import ConnectionPool

from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine.host.loop import Loop
from streamworkers.engine.redis.leases import Leases
from streamworkers.errors import UsageError
from streamworkers.faults import describe
from streamworkers.logger import get_logger
from streamworkers.notifications.channels.channel import NotSentError
from streamworkers.notifications.channels.http import AnswerBound, NoAnswerError
from streamworkers.notifications.channels.telegram_api import RejectedCallError, TelegramApi
from streamworkers.results.definition_rows import read_catalogue
from streamworkers.telegram.handling import Bot, Handled, handle_update
from streamworkers.telegram.help_commands import list_bot_commands
from streamworkers.telegram.incoming import ALLOWED_UPDATES
from streamworkers.telegram.metrics import BotMetrics
from streamworkers.telegram.store.updates import prune_updates, read_offset

log = get_logger()
LONGEST_POLL_SECONDS = 4  # a poll cannot be interrupted, and an end in order takes five seconds at most
LONGEST_PAUSE_SECONDS = 60.0
_ANSWER_SECONDS = 10.0  # beyond the time for which Telegram holds a poll
_MOST_UPDATES = 100
_IDLE_SECONDS = 1.0
_PRUNE_SECONDS = 3600.0
_BAD_TOKEN = (401, 404)


class BadTokenError(UsageError):
    """Telegram does not know the bot's token: no other call can succeed."""


@dataclass(slots=True)
class PollState:
    """What the loop does, for the heartbeat and for readiness."""

    is_polling: bool = False
    conflict_since: float | None = None  # monotonic; another program asks for this bot's updates
    error: str | None = None

    @property
    def conflict_seconds(self) -> float | None:
        """For how long another program has been asking."""
        return None if self.conflict_since is None else time.monotonic() - self.conflict_since


class Poller(Loop):
    """Holds the lease, polls, and handles each update in a transaction of its own.

    The key of `telegram_updates` lets the effects of an update happen once, also with two pollers; the lease only keeps
    them from disturbing each other.
    """

    def __init__(
        self,
        api: TelegramApi,
        settings: Settings,
        pool: "ConnectionPool[Connection]",
        leases: Leases,
        owner: str,
        deliver: Callable[[Handled], None],
        metrics: BotMetrics,
    ) -> None:
        super().__init__("telegram", longest_backoff_seconds=LONGEST_PAUSE_SECONDS)
        self.state = PollState()
        self.fatal: BadTokenError | None = None
        self.on_fatal: Callable[[], None] = lambda: None
        self._api, self._settings, self._pool, self._leases = api, settings, pool, leases
        self._owner, self._deliver, self._metrics = owner, deliver, metrics
        self._bot: Bot | None = None
        self._bound = AnswerBound("STREAMWORKERS_TELEGRAM_MAX_UPDATES_BYTES", settings.telegram_max_updates_bytes)
        self._lease_seconds = settings.lease_seconds
        # Telegram counts whole seconds; the lease must not end during a poll.
        self._poll_seconds = max(1, min(LONGEST_POLL_SECONDS, int(settings.lease_seconds / 3)))
        self._held_until = 0.0
        self._pruned_at = float("-inf")
        self._conflicts = 0

    @property
    def longest_pause_seconds(self) -> float:
        """A poll, or the pause after a conflict."""
        return LONGEST_PAUSE_SECONDS

    def turn(self) -> None:
        """Poll once and handle what came, or stand by for a second while another process has the lease."""
        if not self._holds_lease():
            self._set_polling(False)
            self.succeeded()
            self._stop_requested.wait(_IDLE_SECONDS)
            return
        try:
            bot = self._bot or self._find_bot()
            updates = self._poll(bot)
        except RejectedCallError as error:
            self._rejected(error)
            return
        self.state.conflict_since, self.state.error, self._conflicts = None, None, 0
        self._set_polling(True)
        for update in updates:
            self._handle_one(bot, update)
            if self._stop_requested.is_set() or not self._holds_lease():
                break
        self._prune()
        self.succeeded()

    def failed(self, error: Exception) -> None:
        """Note it, and say that this process does not poll now."""
        self._set_polling(False)
        self._metrics.polls.labels("failed").inc()
        super().failed(error)
        self.state.error = describe(error)

    def log_error(self, error: Exception) -> None:
        """Log an error that is no fault of a store: that Telegram does not answer once, until it does again."""
        if not isinstance(error, (NotSentError, NoAnswerError)):
            super().log_error(error)
        elif self.state.error is None:
            log.warning("telegram_away", error=describe(error))

    def release(self) -> None:
        """Let another process take the lease at once, at an orderly end."""
        if time.monotonic() < self._held_until:
            self._leases.hold_service_lease(self._lease, self._owner, 1)

    @property
    def _lease(self) -> str:
        return f"telegram:{self._api.bot_id}"

    def _holds_lease(self) -> bool:
        """Renew the lease when half of it has passed."""
        now = time.monotonic()
        if now < self._held_until - self._lease_seconds / 2:
            return True
        held = self._leases.hold_service_lease(self._lease, self._owner, round(self._lease_seconds * 1000))
        self._held_until = now + self._lease_seconds if held else 0.0
        return held

    def _find_bot(self) -> Bot:
        name = str(self._api.call("getMe")["username"])
        self._api.call("setMyCommands", {"commands": list_bot_commands()})
        self._bot = Bot(self._api.bot_id, name, self._settings, read_catalogue)
        log.info("telegram_bot", bot=name)
        return self._bot

    def _poll(self, bot: Bot) -> list[dict[str, Any]]:
        with self._pool.connection() as connection:
            offset = read_offset(connection, bot.id)
        wanted = {
            "offset": offset,
            "timeout": self._poll_seconds,
            "limit": _MOST_UPDATES,
            "allowed_updates": list(ALLOWED_UPDATES),
        }
        updates = self._api.call("getUpdates", wanted, seconds=self._poll_seconds + _ANSWER_SECONDS, bound=self._bound)
        self._metrics.polls.labels("answered").inc()
        return [update for update in updates if isinstance(update, dict) and isinstance(update.get("update_id"), int)]

    def _handle_one(self, bot: Bot, update: dict[str, Any]) -> None:
        with self._pool.connection() as connection:
            handled = handle_update(connection, bot, update)
        self._metrics.updates.labels(handled.outcome).inc()
        self.mark_turn()
        self._deliver(handled)

    def _rejected(self, error: RejectedCallError) -> None:
        """Stand by if another program polls, end for a bad token, and wait as long as Telegram asks."""
        self._set_polling(False)
        if error.code in _BAD_TOKEN:
            self.fatal = BadTokenError(f"{error}: STREAMWORKERS_TELEGRAM_TOKEN is not the token of a bot")
            self.stop()
            self.on_fatal()
            return
        self.state.error = str(error)
        if error.code != 409:
            self._metrics.polls.labels("failed").inc()
            log.warning("telegram_rejected", error=str(error))
            self._stop_requested.wait(min(error.retry_after or 5.0, LONGEST_PAUSE_SECONDS))
            return
        self._metrics.polls.labels("conflict").inc()
        if self.state.conflict_since is None:
            self.state.conflict_since = time.monotonic()
            log.warning("telegram_conflict", error=str(error))
        pause = min(self._lease_seconds * 2**self._conflicts, LONGEST_PAUSE_SECONDS)
        self._conflicts = min(self._conflicts + 1, 8)
        self._stop_requested.wait(pause)

    def _set_polling(self, polls: bool) -> None:
        self.state.is_polling = polls
        self._metrics.is_polling.set(polls)

    def _prune(self) -> None:
        if time.monotonic() - self._pruned_at < _PRUNE_SECONDS:
            return
        with self._pool.connection() as connection:
            prune_updates(connection)
        self._pruned_at = time.monotonic()
