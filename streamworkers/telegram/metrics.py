"""The metrics of a bot process, kept in its own process."""

from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge

OUTCOMES = (*("done", "linked", "rejected", "failed", "old", "limited", "not_linked", "ignored", "moved", "repeated"),)
POLLS = ("answered", "conflict", "failed")


class BotMetrics:
    """Counters of one bot process. Labels are outcomes, bounded in number."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        build = Gauge(
            "streamworkers_build_info", "Always 1; the label is the version", ("version",), registry=self.registry
        )
        build.labels(version("streamworkers")).set(1)
        self.updates = self._counter("telegram_updates", "Updates of the bot handled, by outcome")
        self.polls = self._counter("telegram_polls", "Calls for updates: answered, conflict (another polls), failed")
        self.is_polling = Gauge(
            "streamworkers_telegram_polling", "1 in the process that asks for updates", registry=self.registry
        )
        for counter, outcomes in ((self.updates, OUTCOMES), (self.polls, POLLS)):
            for outcome in outcomes:
                counter.labels(outcome)

    def _counter(self, name: str, documentation: str) -> Counter:
        return Counter(f"streamworkers_{name}", documentation, ("outcome",), registry=self.registry)
