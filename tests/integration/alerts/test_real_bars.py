"""Two years of real bars, decided day by day, give exactly what a replay finds over all of them at once."""

from pathlib import Path

import pytest

from live_alerts import LiveAlerts
from streamworkers.database import Connection


@pytest.mark.market_data
def test_live_evaluation_of_real_bars_equals_a_replay(
    connection: Connection, market_data: Path, tmp_path: Path
) -> None:
    """Twenty rules that all fire, with every rearm type; a third of the bars have no volume.

    The control: with one firing taken away, the replay finds it missing.
    """
    live = LiveAlerts(connection, market_data / "sp500_daily_2016_2021.csv.gz", tmp_path, ["COL"])
    live.decide_days()
    assert live.differences() == dict.fromkeys(live.firings(), 0)
    assert 0 not in live.firings().values()
    connection.execute("DELETE FROM alert_firings WHERE id = (SELECT min(id) FROM alert_firings)")
    assert sum(live.differences().values()) == 1
