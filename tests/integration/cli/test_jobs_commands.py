"""`streamworkers jobs list` and `jobs show`: what is installed here, and what only other processes have."""

from typing import Any

import pytest
from psycopg.types.json import Jsonb

from command_line import Run
from streamworkers import __version__
from streamworkers.database import Connection
from streamworkers.engine.ledger.job_types import JobType, record_job_types

_SCHEMA: dict[str, Any] = {
    "description": "Which reports.",
    "properties": {
        "pages": {"type": "integer", "minimum": 1, "default": 3, "title": "Pages"},
        "reader": {"type": "string", "title": "Reader"},
    },
    "required": ["reader"],
}


@pytest.fixture
def elsewhere(connection: Connection) -> None:
    """A job that processes of another release have, and no package here."""
    record_job_types(connection, [JobType("reports", "night", 7, _SCHEMA, "id", False)], "9.1")


@pytest.mark.usefixtures("elsewhere")
def test_jobs_that_are_here_and_elsewhere_are_listed(cli: Run) -> None:
    answer = cli("jobs", "list")
    assert answer.code == 0
    rows = {line.split()[0]: " ".join(line.split()) for line in answer.out.splitlines()}
    assert rows["indicators"] == (
        "indicators analysis symbol streamworkers"
        " Computes the indicators of every symbol: the analysis without patterns."
    )
    assert rows["reports"] == "reports night id not here"
    assert list(rows) == ["job", *sorted(set(rows) - {"job"})]
    jobs = {row["name"]: row for row in cli("jobs", "list", "--json").json}
    assert (jobs["indicators"]["installed"], jobs["indicators"]["version"]) == (True, __version__)
    assert (jobs["reports"]["installed"], jobs["reports"]["max_attempts"]) == (False, 7)


def test_a_job_is_shown_with_limits_and_parameters(cli: Run) -> None:
    answer = cli("jobs", "show", "load_ohlcv")
    assert answer.code == 0
    lines = [" ".join(line.split()) for line in answer.out.splitlines()]
    for line in (
        "job load_ohlcv",
        "does Loads the bars of every symbol in every requested timeframe.",
        f"from streamworkers {__version__}",
        "class streamworkers.jobs.load_ohlcv.LoadOhlcv",
        "queue load, or before it load_first",
        "items symbols",
        "batch at most 60 items",
        "time limit 900 s for a batch",
        "attempts 5",
        "years number or null null more than 0, at most 100",
        "hours regular, extended or null null",
    ):
        assert line in lines
    assert any(line.startswith("counters streamworkers_provider_calls_total, ") for line in lines)
    parameters = {each["name"]: each for each in cli("jobs", "show", "load_ohlcv", "--json").json["parameters"]}
    assert parameters["overlap_bars"] == {
        "name": "overlap_bars",
        "type": "whole number",
        "is_required": False,
        "default": 1,
        "rule": "at least 1, at most 1000",
        "description": "",
    }


def test_parts_and_other_traits_of_a_job_are_shown(cli: Run) -> None:
    assert "items       parts: " in cli("jobs", "show", "database_cleanup").out
    assert "bars        it needs stored bars of its symbols\n" in cli("jobs", "show", "indicators").out
    deliver = cli("jobs", "show", "deliver").out
    assert "failures    nobody is notified of a failed run\n" in deliver
    assert deliver.endswith("\nit has no parameters\n")


def test_the_settings_that_a_job_needs_are_shown_and_named_when_a_run_is_enqueued(
    cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SAMPLE_JOB_KEY", raising=False)
    monkeypatch.setenv("SAMPLE_JOB_URL", "x")
    assert "settings    SAMPLE_JOB_URL, SAMPLE_JOB_KEY\n" in cli("jobs", "show", "needing").out
    assert cli("jobs", "show", "needing", "--json").json["required_settings"] == ["SAMPLE_JOB_URL", "SAMPLE_JOB_KEY"]
    answer = cli("enqueue", "needing", "--symbols", "A")
    warning = "warning: job 'needing' needs SAMPLE_JOB_KEY, which is not set in the environment of this process: "
    assert (answer.code, f"{warning}a worker without it ends the run\n" in answer.err) == (0, True), answer
    monkeypatch.setenv("SAMPLE_JOB_KEY", "x")
    assert "warning" not in cli("enqueue", "needing", "--symbols", "A").err


@pytest.mark.usefixtures("elsewhere")
def test_a_job_that_only_others_have_is_shown_as_they_recorded_it(cli: Run, connection: Connection) -> None:
    answer = cli("jobs", "show", "reports")
    lines = [" ".join(line.split()) for line in answer.out.splitlines()]
    assert lines[:5] == [
        "job reports",
        "from not installed here; streamworkers 9.1",
        "queue night",
        "items ids",
        "attempts 7",
    ]
    assert lines[-2:] == ["pages whole number 3 at least 1", "reader text required"]
    assert "Which reports." in lines
    seen = connection.execute("SELECT seen_at FROM job_types WHERE name = 'reports'").fetchone()
    assert seen is not None
    assert f"in the pool streamworkers 9.1, seen {seen[0].astimezone():%Y-%m-%d %H:%M}" in lines


def test_another_release_with_other_parameters_is_named(cli: Run, connection: Connection) -> None:
    record_job_types(connection, [JobType("deliver", "notify", 3, _SCHEMA, "id")], "9.1")
    assert "streamworkers 9.1, with other parameters, seen " in cli("jobs", "show", "deliver").out


def test_an_unknown_job_is_an_error_with_the_nearest_that_anyone_has(cli: Run, connection: Connection) -> None:
    connection.execute(
        "INSERT INTO job_types (name, schema_hash, release, queue, max_attempts, params_schema, item_kind)"
        " VALUES ('reports', 'x', '9.1', 'night', 7, %s, 'id')",
        (Jsonb(_SCHEMA),),
    )
    answer = cli("jobs", "show", "report")
    assert (answer.code, answer.err) == (2, "Error: no job is named 'report'; did you mean 'reports'?\n")


def test_without_postgresql_the_jobs_of_this_installation_are_listed_with_a_warning(bare_cli: Run) -> None:
    answer = bare_cli("jobs", "list", "--json")
    assert answer.code == 0
    assert "indicators" in {row["name"] for row in answer.json}
    assert answer.err.startswith("Warning: jobs that are not installed here are left out: no PostgreSQL: set ")
    assert bare_cli("jobs", "show", "indicators").code == 0
