"""What `env:NAME` may stand for: a variable that is set, and no setting of the pool."""

import pytest

from streamworkers.errors import BadInputError
from streamworkers.notifications.channels.channel import NotSentError
from streamworkers.notifications.channels.references import read_reference, require_reference

RULE = "STREAMWORKERS_DATABASE_URL is a setting of the pool, and no secret of a receiver"


def test_a_setting_of_the_pool_is_neither_stored_nor_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMWORKERS_DATABASE_URL", "postgresql://pool:password@host/db")
    with pytest.raises(BadInputError) as stored:
        require_reference("secret", "env:STREAMWORKERS_DATABASE_URL")
    assert str(stored.value) == f"secret: {RULE}"
    with pytest.raises(NotSentError) as read:
        read_reference("env:STREAMWORKERS_DATABASE_URL")
    assert (str(read.value), read.value.permanent) == (RULE, True)


def test_another_variable_is_read_and_one_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", " a secret ")
    monkeypatch.delenv("OTHER_SECRET", raising=False)
    assert require_reference("secret", "env:HOOK_SECRET") == "env:HOOK_SECRET"
    assert read_reference("env:HOOK_SECRET") == "a secret"
    with pytest.raises(NotSentError, match="OTHER_SECRET is not set in the environment of this process"):
        read_reference("env:OTHER_SECRET")
