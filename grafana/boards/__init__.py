"""The boards, one module each."""

from grafana import runbook
from grafana.boards import (
    alerts,
    api,
    market,
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
    modules = (tonight, queues_and_workers, runs, market, alerts, notifications, scheduler_and_events, api, stores)
    return [module.board() for module in (*modules, runbook)]
