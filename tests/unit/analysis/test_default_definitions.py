"""The default definitions of the migration can all be computed, and the documents list them."""

from pathlib import Path
from typing import Any

from streamworkers.analysis.candles import CANDLE_TRAITS
from streamworkers.analysis.chart_patterns import CHART_PATTERNS
from streamworkers.analysis.definitions import IndicatorDefinition, PatternDefinition
from streamworkers.analysis.own_indicators import OWN_INDICATORS

ROOT = Path(__file__).parents[3]
SEED_TEXT = "".join(path.read_text() for path in sorted((ROOT / "sql" / "migrations").glob("*_definitions.sql")))


def test_every_row_of_the_seed_was_read(
    indicator_rows: list[dict[str, Any]], pattern_rows: list[dict[str, Any]]
) -> None:
    rows = [line for line in SEED_TEXT.splitlines() if line.startswith("    (")]
    assert len(rows) == len(indicator_rows) + len(pattern_rows) == 120


def test_at_least_forty_indicators_are_enabled_and_every_row_is_valid(
    indicator_rows: list[dict[str, Any]], default_indicators: list[IndicatorDefinition]
) -> None:
    assert sum(row["enabled"] for row in indicator_rows) == len(default_indicators) == 48
    assert len({definition.name for definition in default_indicators}) == 48
    assert {definition.function for definition in default_indicators} >= set(OWN_INDICATORS)


def test_all_candle_and_chart_patterns_have_a_row_and_the_noisy_ones_are_disabled(
    pattern_rows: list[dict[str, Any]], all_patterns: list[PatternDefinition]
) -> None:
    functions = [definition.function for definition in all_patterns]
    assert sorted(functions) == sorted([*CANDLE_TRAITS, *CHART_PATTERNS])
    enabled = {row["function"] for row in pattern_rows if row["enabled"]}
    assert enabled >= set(CHART_PATTERNS)
    assert len(enabled & set(CANDLE_TRAITS)) == 25
    assert enabled.isdisjoint({"CDLDOJI", "CDLSPINNINGTOP", "CDLHIGHWAVE", "CDLLONGLINE", "CDLSHORTLINE"})


def test_the_documents_name_every_own_indicator_and_detector() -> None:
    indicators = (ROOT / "docs" / "reference" / "indicators.md").read_text()
    patterns = (ROOT / "docs" / "reference" / "patterns.md").read_text()
    assert [name for name in OWN_INDICATORS if f"`{name}`" not in indicators] == []
    assert [name for name in CHART_PATTERNS if f"`{name}`" not in patterns] == []
