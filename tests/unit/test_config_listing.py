"""`streamworkers config show`: every setting with its source, and no secret, wherever one is planted."""

import json
from collections.abc import Callable

import pytest

from streamworkers.cli.main import main
from streamworkers.config import Settings
from streamworkers.config.listing import is_secret
from streamworkers.config.masking import mask_url
from streamworkers.config.renamed import RENAMED
from streamworkers.config.scheduling import BARE_VARIABLES

SECRET = "hunter2secret"
Show = Callable[..., tuple[str, str]]


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Show:
    """Run `config show` with these variables, and no others of ours; returns both outputs."""
    names = [f"STREAMWORKERS_{name.upper()}" for name in Settings.model_fields]
    for name in (*names, *map(str.upper, BARE_VARIABLES), *RENAMED):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words: str, code: int = 0, **variables: str) -> tuple[str, str]:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main(["config", "show", *words])
        assert ended.value.code == code
        captured = capsys.readouterr()
        return captured.out, captured.err

    return run


_PLANTED = {
    "redis_url": f"rediss://ann:{SECRET}@redis.example.com:6380/2?password={SECRET}&ssl_cert_reqs=none",
    "database_url": f"postgresql://ann:{SECRET}@db.example.com/x?sslmode=require&sslpassword={SECRET}",
    "listen_url": f"host=db.example.com user=ann password='{SECRET} x' dbname=x passfile=/{SECRET}",
    "massive_proxy": f"http://{SECRET}@proxy.example.com:3128",
}


def test_no_secret_is_printed_whichever_setting_holds_it(show: Show) -> None:
    secrets = [name for name in Settings.model_fields if is_secret(name)]
    assert len(secrets) >= 7
    planted = {f"STREAMWORKERS_{name.upper()}": _PLANTED.get(name, SECRET) for name in secrets}
    planted["STREAMWORKERS_TELEGRAM_URL"] = f"https://{SECRET}@telegram.example.com"
    planted["STREAMWORKERS_SMTP_PASWORD"] = SECRET  # a slip: its value may be a secret, too
    for words in ((), ("--json",), ("--changed",), ("--changed", "--json")):
        out, err = show(*words, **planted)
        assert SECRET not in out + err
        for word in ("ann:***@redis.example.com", "ann:***@db.example.com", "***@proxy.example.com", "user=ann"):
            assert word in out


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("STREAMWORKERS_DATABASE_URL", f"mysql://ann:{SECRET}@host"),
        ("STREAMWORKERS_MASSIVE_BASE_URL", f"https://ann:{SECRET}@gateway.example.com/?token={SECRET}"),
        ("STREAMWORKERS_PUBLIC_URL", f"ftp://ann:{SECRET}@example.com"),
        ("STREAMWORKERS_PUBLIC_URL", f"ann:{SECRET}@example.com"),
    ],
)
def test_a_wrong_value_is_rejected_without_the_secret_in_it(show: Show, variable: str, value: str) -> None:
    out, err = show(code=2, **{variable: value})
    assert SECRET not in out + err
    assert err.startswith(f"Error: {variable}")
    assert ": it is not " in err


def test_each_setting_says_where_it_comes_from(show: Show) -> None:
    (old,) = RENAMED
    out, _ = show(
        "--json",
        **{
            "STREAMWORKERS_LEASE_SECONDS": "30",
            old: "7",
            "JOB_CLEANUP_TIME": "04:00",
            "STREAMWORKERS_LEASE_SECODS": "9",
        },
    )
    answer = json.loads(out)
    rows = {row["name"]: row for row in answer["settings"]}
    assert rows.keys() == Settings.model_fields.keys()
    assert (rows["lease_seconds"]["value"], rows["lease_seconds"]["source"]) == (30.0, "environment")
    renamed = rows[RENAMED[old].removeprefix("STREAMWORKERS_").lower()]
    assert (renamed["value"], renamed["source"]) == (7.0, f"environment ({old})")
    assert (rows["job_cleanup_time"]["value"], rows["job_cleanup_time"]["source"]) == (
        "04:00",
        "environment (JOB_CLEANUP_TIME)",
    )
    assert (rows["grace_seconds"]["value"], rows["grace_seconds"]["source"]) == (30.0, "default")
    assert answer["unknown"] == [{"variable": "STREAMWORKERS_LEASE_SECODS", "nearest": "STREAMWORKERS_LEASE_SECONDS"}]


def test_changed_shows_what_variables_set_and_slips_with_the_nearest_name(show: Show) -> None:
    assert show("--changed") == ("no variable sets anything: all defaults are in force\n", "")
    out, err = show("--changed", STREAMWORKERS_LEASE_SECONDS="20", STREAMWORKERS_LOG_LEVL="debug")
    assert out.splitlines() == [
        "variable                     value  from",
        "STREAMWORKERS_LEASE_SECONDS     20  environment",
    ]
    assert err == (
        "Warning: STREAMWORKERS_LOG_LEVL is no setting of streamworkers, and is ignored;"
        " did you mean STREAMWORKERS_LOG_LEVEL?\n"
    )


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost", "redis://localhost"),
        ("redis://:pw@[::1]:6379/0?db=3", "redis://:***@[::1]:6379/0?db=3"),
        ("redis://ann@localhost", "redis://ann@localhost"),
        ("unix://ann:pw@/run/redis.sock?password=pw", "unix://ann:***@/run/redis.sock?password=***"),
        (
            "redis+sentinel://a:pw@one:1,two:2/main?sentinel_password=pw",
            "redis+sentinel://a:***@one:1,two:2/main?sentinel_password=***",
        ),
        ("postgresql://u:p%40w@one:5432,two:5432/db", "postgresql://u:***@one:5432,two:5432/db"),
        ("postgresql://", "postgresql://"),
        ("postgresql://u@/db?host=/run&options=-cx%3Dpw&bare", "postgresql://u@/db?host=/run&options=***&***"),
        ("host=/run dbname=db password=pw", "host=/run dbname=db password=***"),
        ("host = /run  password = 'p w\\' x' user=u", "host=/run password=*** user=u"),
        ("https://h/path#pw", "https://h/path#***"),
        ("https://token@h", "https://***@h"),
        ("postgresql://u:p/w@h/db", "***"),
        ("pw", "***"),
        ("", ""),
    ],
)
def test_a_url_is_shown_with_user_and_host_and_no_password(url: str, shown: str) -> None:
    assert mask_url(url) == shown
