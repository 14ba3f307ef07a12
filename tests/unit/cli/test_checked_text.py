"""A time that cannot be read is said with the option that has it, before anything is opened."""

import pytest

from streamworkers.cli.main import main

_SINCE = "is not a date YYYY-MM-DD or a time in ISO 8601"


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (("runs", "list", "--since", "5"), _SINCE),
        (("items", "list", "--since", "5"), _SINCE),
        (("items", "list", "--until", ""), _SINCE),
        (("dead", "list", "--since", "5"), _SINCE),
        (("messages", "list", "--since", "5"), _SINCE),
        (("audit", "list", "--since", "5"), _SINCE),
        (("alerts", "history", "--since", "5"), _SINCE),
        (("alerts", "replay", "low", "--since", "5"), _SINCE),
        (("alerts", "test", "low", "--since", "5"), _SINCE),
        (("alerts", "mute", "low", "--until", "5"), _SINCE),
        (("alerts", "mute", "low", "--for", "5"), "is not a time such as 90s, 5m, 2h, 1d or 1w"),
        (("schedules", "history", "--until", "5"), _SINCE),
        (("schedules", "next", "--from", "5"), _SINCE),
        (("schedules", "missing", "--since", "0001-01-01T00:00+05:00"), "is outside of the years 1 to 9999"),
        (("enqueue", "noop", "--as-of", "yesterday"), _SINCE),
        (("enqueue", "noop", "--in", "5"), "is not a time such as 90s, 5m, 2h, 1d or 1w"),
    ],
    ids=" ".join,
)
def test_a_time_that_cannot_be_read_is_said_with_its_option(
    words: tuple[str, ...], rule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*words])
    *_, option, value = words
    assert ended.value.code == 2
    assert f"Error: {option}: {value!r} {rule}" in capsys.readouterr().err
