"""Settings: defaults, what is rejected and with which words, and that no secret is ever printed."""

import pytest
from pydantic import ValidationError

from streamworkers.config import Settings, load_settings
from streamworkers.config.renamed import RENAMED, rename_variables
from streamworkers.config.settings import _PATTERNS
from streamworkers.config.unknown import find_unknown_variables
from streamworkers.errors import UsageError

SECRET = "hunter2secret"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"STREAMWORKERS_{name.upper()}", raising=False)


def test_defaults_hold_without_an_environment() -> None:
    settings = load_settings()
    assert settings.redis_url is None
    assert settings.database_url is None
    assert str(settings.data_dir) == ".streamworkers"
    assert settings.lease_ms == 30_000


def test_an_empty_variable_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMWORKERS_REDIS_URL", "")
    monkeypatch.setenv("STREAMWORKERS_LEASE_SECONDS", "")
    assert load_settings().redis_url is None
    assert load_settings().lease_seconds == 30


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("key_prefix", "a b", "it is not 1 to 64 letters, digits and _ . : -"),
        ("key_prefix", "x" * 65, "it is not 1 to 64 letters, digits and _ . : -"),
        ("lease_seconds", "0.1", "it is not at least 0.2"),
        ("lease_seconds", "nan", "it is not a finite number"),
        ("lease_seconds", "soon", "it is not a number"),
        ("target_batch_seconds", "0", "it is not more than 0"),
        ("grace_seconds", "-1", "it is not at least 0"),
        ("retry_base_seconds", "0", "it is not more than 0"),
        ("retry_cap_seconds", "86401", "it is not at most 86400"),
        ("entry_max_bytes", "1.5", "it is not a whole number"),
        ("entry_max_bytes", "255", "it is not at least 2048"),
        ("statement_timeout_seconds", "inf", "it is not at most 3600"),
        ("reconcile_seconds", "-5", "it is not more than 0"),
        ("log_level", "loud", "it is not debug, info, warning or error"),
        ("log_format", "xml", "it is not auto, console or json"),
    ],
)
def test_a_bad_value_is_rejected_with_variable_value_and_rule(
    name: str, value: str, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"STREAMWORKERS_{name.upper()}", value)
    with pytest.raises(UsageError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"STREAMWORKERS_{name.upper()}={value!r}: ")
    assert rule in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "redis://localhost",
        f"rediss://user:{SECRET}@redis.example.com:6380/2?ssl_cert_reqs=none",
        f"redis://:{SECRET}@[::1]:6379",
        "unix:///run/redis.sock",
        "unix:///a b/redis.sock?db=1",
    ],
)
def test_a_redis_url_is_taken(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMWORKERS_REDIS_URL", url)
    found = load_settings().redis_url
    assert found is not None
    assert found.get_secret_value() == url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user@/db?host=/run/postgres",
        f"postgres://user:{SECRET}@db.example.com:5432/db?sslmode=require",
        f"postgresql://user:{SECRET}@one:5432,two:5432/db",
        "postgresql://",
        f"host=/run/postgres dbname=db password={SECRET}",
    ],
)
def test_a_database_url_is_taken(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMWORKERS_DATABASE_URL", url)
    found = load_settings().database_url
    assert found is not None
    assert found.get_secret_value() == url


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("STREAMWORKERS_REDIS_URL", f"http://:{SECRET}@localhost:6379"),
        ("STREAMWORKERS_REDIS_URL", f"redis:/:{SECRET}@localhost:6379"),
        ("STREAMWORKERS_REDIS_URL", f"redis://:{SECRET}/x@localhost:6379"),
        ("STREAMWORKERS_REDIS_URL", f"redis://:x@{SECRET}@localhost:6379"),
        ("STREAMWORKERS_REDIS_URL", f"redis://:x#{SECRET}@localhost:6379"),
        ("STREAMWORKERS_REDIS_URL", f"redis://:x?{SECRET}@localhost:6379"),
        ("STREAMWORKERS_REDIS_URL", f"redis://localhost:{SECRET}"),
        ("STREAMWORKERS_DATABASE_URL", SECRET),
        ("STREAMWORKERS_DATABASE_URL", f"mysql://user:{SECRET}@localhost/db"),
        ("STREAMWORKERS_DATABASE_URL", f"postgresql://user:x/{SECRET}@localhost/db"),
        ("STREAMWORKERS_DATABASE_URL", f"postgresql://user:x@{SECRET}@localhost/db"),
        ("STREAMWORKERS_DATABASE_URL", f"postgresql://user:{SECRET}#1@localhost/db"),
        ("STREAMWORKERS_DATABASE_URL", f"postgresql:/user:{SECRET}@localhost/db"),
    ],
)
def test_a_bad_url_is_rejected_by_name_and_rule_and_never_printed(
    variable: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, url)
    with pytest.raises(UsageError) as caught:
        load_settings()
    message = str(caught.value)
    assert message.startswith(f"{variable}: it is not ")
    assert "percent-encoded" in message
    assert SECRET not in message


def test_settings_do_not_show_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMWORKERS_REDIS_URL", f"redis://:{SECRET}@localhost")
    assert SECRET not in repr(load_settings())


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_name_works_with_a_warning_once(
    old: str, new: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = new.removeprefix("STREAMWORKERS_").lower()
    monkeypatch.setenv(new, "")  # so that it is restored afterwards
    monkeypatch.setenv(old, "7")
    assert getattr(load_settings(), name) == 7
    assert capsys.readouterr().err == f"Warning: {old} is now {new}; the old name will be removed in the next release\n"
    assert getattr(load_settings(), name) == 7
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_new_name_wins_over_the_old(old: str, new: str) -> None:
    environment = {old: "7", new: "8"}
    (warning,) = rename_variables(environment)
    assert warning.startswith(f"{old} is ignored, because {new} is set")
    assert environment == {new: "8"}


def test_every_new_name_is_a_setting_and_no_old_one() -> None:
    names = {f"STREAMWORKERS_{name.upper()}" for name in Settings.model_fields}
    assert set(RENAMED.values()) <= names
    assert names.isdisjoint(RENAMED)


def test_settings_are_frozen() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.lease_seconds = 1.0  # type: ignore[misc]
    assert next(iter(Settings.model_fields)) == "redis_url"


def test_settings_are_parsed_once_for_an_environment_and_again_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_settings()
    assert load_settings() is first
    monkeypatch.setenv("STREAMWORKERS_LEASE_SECONDS", "77")
    assert load_settings().lease_seconds == 77
    monkeypatch.setenv("JOB_CLEANUP_TIME", "04:05")  # a variable without the prefix counts, too
    assert load_settings().job_cleanup_time == "04:05"
    monkeypatch.setenv("STREAMWORKERS_LEASE_SECONDS", "no number")
    for _ in range(2):
        with pytest.raises(UsageError, match="STREAMWORKERS_LEASE_SECONDS='no number'"):
            load_settings()


def test_a_variable_that_is_no_setting_is_named_with_the_nearest_one() -> None:
    environment = dict.fromkeys(
        ("STREAMWORKERS_LEASE_SECOND", "STREAMWORKERS_XYZZY", "STREAMWORKERS_REDIS_URL", "STREAMWORKERS_API_TOKEN"), "1"
    )
    environment |= {"STREAMWORKERS_GRAFANA_DATABASE_USER": "me", "STREAM": "", next(iter(RENAMED)): "1"}
    assert list(map(str, find_unknown_variables(environment))) == [
        (
            "STREAMWORKERS_LEASE_SECOND is no setting of streamworkers, and is ignored;"
            " did you mean STREAMWORKERS_LEASE_SECONDS?"
        ),
        "STREAMWORKERS_XYZZY is no setting of streamworkers, and is ignored",
    ]


def test_every_pattern_of_a_setting_has_words() -> None:
    patterns = {
        pattern
        for field in Settings.model_fields.values()
        for each in field.metadata
        if (pattern := getattr(each, "pattern", None)) is not None
    }
    assert patterns
    assert patterns == _PATTERNS.keys()
