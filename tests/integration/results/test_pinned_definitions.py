"""After the migrations, every definition has every parameter of its function in its row."""

import pytest

from streamworkers.analysis.definitions import IndicatorDefinition, PatternDefinition
from streamworkers.database import Connection
from streamworkers.migrations import migrations_folder
from streamworkers.results.definitions import (
    add_indicator,
    list_indicator_definitions,
    list_pattern_definitions,
)

MIGRATION = "0015_pinned_parameters.sql"


def test_every_default_definition_has_every_parameter(connection: Connection) -> None:
    indicators, patterns = list_indicator_definitions(connection), list_pattern_definitions(connection)
    assert len(indicators) >= 46
    assert len(patterns) >= 72
    for row in indicators:
        assert row["params"] == IndicatorDefinition.from_row(row).all_params(), row["name"]
    for row in patterns:
        assert row["params"] == PatternDefinition.from_row(row).all_params(), row["name"]


def test_the_migration_completes_rows_of_users_and_keeps_what_they_say(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO indicator_definitions (name, function, params) VALUES"
        " ('mine', 'STOCH', '{\"slowk_period\": 5, \"slowk_matype\": 1}'), ('plain', 'OBV', '{}')"
    )
    connection.execute("UPDATE indicator_definitions SET params = params - 'matype' WHERE name = 'ppo_12_26'")
    connection.execute((migrations_folder() / MIGRATION).read_bytes())
    rows = {row["name"]: row["params"] for row in list_indicator_definitions(connection)}
    assert rows["mine"] == {
        "fastk_period": 5,
        "slowk_period": 5,
        "slowk_matype": 1,
        "slowd_period": 3,
        "slowd_matype": 0,
    }
    assert rows["plain"] == {}
    assert rows["ppo_12_26"] == {"fastperiod": 12, "slowperiod": 26, "matype": 1}


@pytest.mark.parametrize("params", [{}, {"matype": 0}])
def test_a_new_row_has_every_parameter(connection: Connection, params: dict[str, int]) -> None:
    add_indicator(connection, IndicatorDefinition("ppo", "PPO", params), None)
    rows = {row["name"]: row["params"] for row in list_indicator_definitions(connection)}
    assert rows["ppo"] == {"fastperiod": 12, "slowperiod": 26, "matype": 1} | params
