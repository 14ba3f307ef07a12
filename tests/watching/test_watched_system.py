"""A real run, scraped by a real Prometheus: every query of a board, a rule or an alert has an answer."""

import time
from pathlib import Path

import pytest
import yaml
from psycopg import sql

from grafana_macros import Range
from streamworkers.database import Connection, connect
from streamworkers.engine.registry import Registry
from streamworkers.migrations import create_roles
from watching.boards import Answer, Panel, ask, moment, panels, variables_of
from watching.prometheus_server import RULES
from watching.stage import Stage, watched_system

# What exists only during a problem, or where somebody wants it; calls to a provider and submissions by SQL, which the
# watched system does not make.
MAY_BE_EMPTY = {
    ("streamworkers-tonight", "Alerts firing"),
    ("streamworkers-queues", "Alerts firing"),
    ("streamworkers-queues", "Undecided items"),
    ("streamworkers-messages", "Floods"),
    ("streamworkers-scheduler", "Backfills"),
    ("streamworkers-scheduler", "Deadlines, missed ones first"),
    ("streamworkers-scheduler", "Maintenance windows"),
    ("streamworkers-scheduler", "Waiting ticks"),
    ("streamworkers-scheduler", "Connections of listeners in an hour"),
    ("streamworkers-scheduler", "Failed steps of background services"),
    ("streamworkers-scheduler", "Submitted runs prepared in an hour, by outcome"),
    ("streamworkers-market", "Calls a minute, by answer"),
    ("streamworkers-market", "Calls a minute, by purpose"),
    ("streamworkers-market", "Budget: calls that count, or waited"),
    ("streamworkers-market", "Outages"),
    ("streamworkers-market", "Bars stored and rejected a minute"),
    ("streamworkers-stores", "Faults"),
    ("streamworkers-stores", "Workers that hold"),
}


# It looks back: what a Prometheus sees in its first 15 minutes may be old.
RECORDED_LATER = {"queue_job:streamworkers_items_failed:ratio15m"}


@pytest.mark.timeout(600)
def test_every_query_of_boards_rules_and_alerts_is_answered_by_a_running_system(
    environment: dict[str, str],
    connection: Connection,
    database_url: str,
    registry: Registry,
    tmp_path: Path,
) -> None:
    create_roles(connection)
    with watched_system(environment, tmp_path, registry) as stage, connect(database_url) as reader:
        reader.execute(sql.SQL("SET ROLE {}").format(sql.Identifier("streamworkers_readonly")))
        boards = _answers(stage, reader)
        wrong = [
            f"{panel.board} / {panel.title}: {answer.error or 'nothing came back'}: {answer.query.text}"
            for answered in boards.values()
            for panel, answers in answered
            for answer in answers
            if answer.error or (answer.is_empty and (panel.board, panel.title) not in MAY_BE_EMPTY)
        ]
        wrong += _wrong_rules(stage)
    if wrong:
        pytest.fail("\n\n".join(wrong))
    assert len(boards) == 10


def _answers(stage: Stage, reader: Connection) -> dict[str, list[tuple[Panel, list[Answer]]]]:
    variables = variables_of(stage.connection)
    recent = Range(moment(stage.began_at), moment(time.time()), "5s")
    found: dict[str, list[tuple[Panel, list[Answer]]]] = {}
    for panel in panels():
        # Bars are older than the run that reads them.
        years = Range(moment(stage.began_at - 12 * 365 * 86_400), moment(time.time() + 60), "1d")
        answers = [
            ask(query, stage.prometheus, reader, variables, years if query.kind == "sql" else recent)
            for query in panel.queries
        ]
        found.setdefault(panel.board, []).append((panel, answers))
    return found


def _wrong_rules(stage: Stage) -> list[str]:
    """Rules that Prometheus could not evaluate, and recording rules without a sample."""
    wrong = []
    for path in sorted(RULES.glob("*.yml")):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                stage.prometheus.query(rule["expr"])
                if rule.get("record") in RECORDED_LATER:
                    continue
                # On a busy machine a scrape comes too late now and then, and what is recorded of it ends for a while.
                if "record" in rule and not stage.prometheus.query(f"last_over_time({rule['record']}[10m])"):
                    wrong.append(f"{path.name}: {rule['record']} records nothing")
    return wrong
