"""The boards, one module each."""

from grafana import runbook
from grafana.boards import (
    alerts,
    api,
    market,
    messages,
    notifications,
    queues_and_workers,
    runs,
    scheduler_and_events,
    stores,
    tonight,
)
from grafana.dashboard import Board


def all_boards() -> list[Board]:
    """Every board, in the order in which an operator opens them."""
    first = (tonight, queues_and_workers, runs, market, alerts, notifications)
    modules = (*first, scheduler_and_events, messages, api, stores, runbook)
    return [module.board() for module in modules]
