"""The users that docs/guides/operations.md describes, made in Redis and PostgreSQL with exactly the rights it lists."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier

from streamworkers.database import Connection
from streamworkers.migrations import create_roles

GUIDE = Path(__file__).parent.parent / "docs" / "guides" / "operations.md"
_REDIS_LINE = re.compile(r"^ACL SETUSER (\w+) (.+)$", re.MULTILINE)
_LOGIN_LINE = re.compile(r"^CREATE ROLE (\w+) LOGIN PASSWORD '…' IN ROLE (\w+);$", re.MULTILINE)
_DATABASE_LINE = re.compile(r"^((?:REVOKE|GRANT) .+ ON DATABASE) streamworkers ((?:FROM|TO) .+);$", re.MULTILINE)
_SAMPLE_CHANNEL = "&tests.effects"  # that of the sample jobs' events
_SETINFO = "+client|setinfo"


def redis_rights() -> dict[str, list[str]]:
    """The rules of each user in Redis, as the guide lists them."""
    rights: dict[str, list[str]] = {}
    for user, rules in _REDIS_LINE.findall(GUIDE.read_text(encoding="utf-8")):
        rights.setdefault(user, []).extend(rules.split())
    return rights


def postgres_groups() -> dict[str, str]:
    """The group of each login in PostgreSQL, as the guide lists them."""
    return dict(_LOGIN_LINE.findall(GUIDE.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Users:
    """The guide's users of one test, under names that no other test uses."""

    admin: redis.Redis
    redis_url: str
    database_url: str
    key_prefix: str

    @property
    def message_prefix(self) -> str:
        """The STREAMWORKERS_MESSAGE_PREFIX of the test."""
        return f"{self.key_prefix}.messages"

    def name(self, user: str) -> str:
        """What a user of the guide is called in Redis and PostgreSQL."""
        return f"{user}-{self.key_prefix}"

    def environment(self, user: str) -> dict[str, str]:
        """The settings of a process that logs in as this user of the guide."""
        place = urlsplit(self.redis_url)
        name, password = self.name(user), self.key_prefix
        return {
            "STREAMWORKERS_REDIS_URL": place._replace(netloc=f"{name}:{password}@{place.netloc}").geturl(),
            "STREAMWORKERS_DATABASE_URL": make_conninfo(self.database_url, user=name, password=password),
            "STREAMWORKERS_MESSAGE_PREFIX": self.message_prefix,
        }

    def change(self, user: str, *rules: str) -> None:
        """Give a user in Redis other rules, in the words of the guide."""
        words = ("ACL", "SETUSER", self.name(user), *map(self._of_test, rules))
        self.admin.execute_command(*words)  # type: ignore[no-untyped-call]

    def denied(self) -> list[dict[str, Any]]:
        """What Redis has denied to these users so far."""
        log: Any = self.admin.acl_log(count=128)
        return [line for line in log if str(_text(line["username"])).endswith(self.key_prefix)]

    def _of_test(self, rule: str) -> str:
        if rule.startswith(">"):
            return f">{self.key_prefix}"
        rule = re.sub(r"^([~&]|%R~)tickstock", rf"\g<1>{self.message_prefix}", rule)
        return re.sub(r"^([~&]|%R~)streamworkers:", rf"\g<1>{self.key_prefix}:", rule)


@contextmanager
def documented_users(connection: Connection, database_url: str, redis_url: str, key_prefix: str) -> Iterator[Users]:
    """The guide's users in the test's database and Redis, for the length of a test."""
    with ExitStack() as stack:
        admin = redis.Redis.from_url(redis_url)
        stack.callback(admin.close)
        users = Users(admin, redis_url, database_url, key_prefix)
        _make_logins(users, connection, stack)
        adapt = _adapter(admin)
        for user, rules in redis_rights().items():
            stack.callback(admin.acl_deluser, users.name(user))
            own = [_SAMPLE_CHANNEL] if any(rule.startswith("&") for rule in rules) else []
            users.change(user, *adapt(rules), *own)
        yield users


def _make_logins(users: Users, connection: Connection, stack: ExitStack) -> None:
    create_roles(connection)
    database = Identifier(str(conninfo_to_dict(users.database_url)["dbname"]))
    for before, after in _DATABASE_LINE.findall(GUIDE.read_text(encoding="utf-8")):
        connection.execute(SQL("{} {} {}").format(SQL(before), database, SQL(after)))
    for user, group in postgres_groups().items():
        login = Identifier(users.name(user))
        connection.execute(
            SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}").format(login, users.key_prefix, Identifier(group))
        )
        stack.callback(connection.execute, SQL("DROP ROLE {}").format(login))


def _adapter(admin: redis.Redis) -> Callable[[list[str]], list[str]]:
    """What the guide says to change for an older Redis."""
    state: Any = admin.info("server")
    version = tuple(int(part) for part in state["redis_version"].split(".")[:2])
    if version < (7, 0):
        return lambda rules: [rule.strip("()") for rule in rules]
    if version < (7, 2):
        return lambda rules: [rule for rule in rules if rule != _SETINFO]
    return list


def _text(value: object) -> object:
    return value.decode() if isinstance(value, bytes) else value
