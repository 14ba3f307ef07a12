"""A Redis and a PostgreSQL that speak TLS: Debian's, as the embedded ones are built without it."""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import redis
from psycopg import sql
from psycopg.conninfo import make_conninfo

from certificates import Authority
from harness import wait_until
from matrix.programs import debian_postgres, debian_redis
from memory import folder_of_services
from patience import patient
from streamworkers.errors import UsageError
from streamworkers_fakes.serving import Certificate

_TRIES = 5
CERTIFIED = "certified"  # the role that logs in with a client certificate
TRUSTED = "trusted"
_RULES = f"""local all all trust
hostssl all {CERTIFIED} 127.0.0.1/32 cert
hostssl all {TRUSTED} 127.0.0.1/32 trust
"""


class Certificates:
    """What servers and clients of a test show, and whom they trust."""

    def __init__(self, folder: Path) -> None:
        for name in ("ours", "other"):
            (folder / name).mkdir()
        self.authority, self.other = Authority(folder / "ours"), Authority(folder / "other")
        self.right = self.authority.issue("127.0.0.1")
        self.of_another_host = self.authority.issue("redis.example.org")
        self.expired = self.authority.issue("127.0.0.1", expired=True)
        self.client = self.authority.issue("client.example.org", user=CERTIFIED)
        self.other_client = self.other.issue("client.example.org", user=CERTIFIED)


class TlsRedis:
    """One that speaks TLS at a port, and plainly at another one."""

    def __init__(self, admin: "redis.Redis", port: int, plain_port: int) -> None:
        self._admin, self.port, self.plain_port = admin, port, plain_port

    def show(self, certificate: Certificate, clients: str = "no") -> None:
        """Show this certificate from now on; `clients` says whether they need one: `no`, `optional`, `yes`."""
        self._admin.config_set(
            "tls-cert-file",
            str(certificate.chain),
            "tls-key-file",
            str(certificate.key),
            "tls-auth-clients",
            clients,
        )

    def url(self, *options: str) -> str:
        """Its URL with TLS and these options."""
        return f"rediss://127.0.0.1:{self.port}/0?{'&'.join(options)}"


class TlsPostgres:
    """One that speaks TLS, with the roles `certified` and `trusted`."""

    def __init__(self, socket_folder: Path, port: int) -> None:
        self.socket_folder, self.port = socket_folder, port

    def admin(self, database: str = "postgres") -> "psycopg.Connection[tuple[Any, ...]]":
        """A connection of the superuser over the Unix socket."""
        url = make_conninfo(host=str(self.socket_folder), port=self.port, user="postgres", dbname=database)
        return psycopg.connect(url, autocommit=True)

    def show(self, certificate: Certificate | None) -> None:
        """Show this certificate to connections from now on; None turns TLS off."""
        settings = {"ssl": "on" if certificate else "off"}
        if certificate:
            for name, file in (("ssl_cert_file", certificate.chain), ("ssl_key_file", certificate.key)):
                settings[name] = str(_readable(file, self.socket_folder))
        with self.admin() as admin:
            for name, value in settings.items():
                admin.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
            admin.execute("SELECT pg_reload_conf()")
        wait_until(lambda: self._has(settings), what="PostgreSQL has read its configuration")

    def _has(self, settings: dict[str, str]) -> bool:
        with self.admin() as admin:
            return all(
                admin.execute(f"SHOW {name}".encode()).fetchone() == (value,) for name, value in settings.items()
            )

    def url(self, *options: str, user: str = TRUSTED, database: str = "postgres") -> str:
        """Its URL over TCP with these options."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}?{'&'.join(options)}"


@contextmanager
def running_tls_redis(certificates: Certificates) -> Iterator[TlsRedis]:
    """A Redis with TLS. Raises UsageError where Debian's cannot be had."""
    program, folder = debian_redis("7.0"), folder_of_services("sw-tls-")
    path = folder / "redis.sock"

    def command(port: int, plain: int) -> list[str]:
        options = {
            "port": plain,
            "tls-port": port,
            "bind": "127.0.0.1",
            "unixsocket": path,
            "save": "",
            "dir": folder,
            "tls-cert-file": certificates.right.chain,
            "tls-key-file": certificates.right.key,
            "tls-ca-cert-file": certificates.authority.file,
            "tls-auth-clients": "no",
        }
        return [str(program), *(str(word) for name, value in options.items() for word in (f"--{name}", value))]

    admin = redis.Redis(unix_socket_path=str(path))
    try:
        with _started(command, lambda *_: _answers(path), folder / "log") as (port, plain):
            yield TlsRedis(admin, port, plain)
    finally:
        admin.close()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_tls_sentinel(
    certificates: Certificates, shown: Certificate | None, primary: int, clients: str = "no"
) -> Iterator[int]:
    """A sentinel that calls the Redis at a port `pool`; it shows a certificate, or has no TLS; yields its port."""
    program, folder = debian_redis("7.0"), folder_of_services("sw-tls-")
    config = folder / "sentinel.conf"

    def command(port: int, _: int) -> list[str]:
        own = shown or certificates.right
        lines = [
            *(("port", port),) * (shown is None),
            *(("port", 0), ("tls-port", port)) * (shown is not None),
            ("bind", "127.0.0.1"),
            ("dir", folder),
            ("tls-cert-file", own.chain),
            ("tls-key-file", own.key),
            ("tls-ca-cert-file", certificates.authority.file),
            ("tls-auth-clients", clients),
            ("tls-replication", "yes"),
            ("sentinel monitor pool 127.0.0.1", f"{primary} 1"),
            # It shall not find out that the primary shows it a wrong certificate, too.
            ("sentinel down-after-milliseconds pool", 3_600_000),
        ]
        config.write_text("".join(f"{name} {value}\n" for name, value in lines), encoding="utf-8")
        return [str(program), str(config), "--sentinel"]

    try:
        with _started(command, lambda port, _: _listens(port), folder / "log") as (port, _):
            yield port
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_tls_postgres(certificates: Certificates) -> Iterator[TlsPostgres]:
    """A PostgreSQL with TLS. Raises UsageError where Debian's cannot be had, or cannot be run by `nobody`."""
    programs, folder = debian_postgres("15"), folder_of_services("sw-tls-")
    data = folder / "data"
    try:
        folder.chmod(0o755)
        data.mkdir(mode=0o700)
        _give_away(data)
        words = ["-D", str(data), "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=utf8", "--locale=C"]
        done = _as_server([str(programs / "initdb"), *words], folder / "initdb.log")
        if done.wait(patient(60)) != 0:
            raise UsageError(f"initdb of Debian's PostgreSQL failed: {(folder / 'initdb.log').read_text()[-300:]}")
        (data / "pg_hba.conf").write_text(_RULES, encoding="utf-8")
        authority = _readable(certificates.authority.file, data)

        def command(port: int, _: int) -> list[str]:
            settings = {
                "listen_addresses": "127.0.0.1",
                "port": port,
                "unix_socket_directories": data,
                "fsync": "off",
                "shared_buffers": "16MB",
                "ssl_ca_file": authority,
            }
            return [
                str(programs / "postgres"),
                "-D",
                str(data),
                *(f"--{name}={value}" for name, value in settings.items()),
            ]

        def started(port: int, _: int) -> bool:
            try:
                TlsPostgres(data, port).admin().close()
            except psycopg.OperationalError:
                return False
            return True

        with _started(command, started, folder / "log") as (port, _):
            server = TlsPostgres(data, port)
            with server.admin() as admin:
                for role in (CERTIFIED, TRUSTED):
                    admin.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEROLE").format(sql.Identifier(role)))
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _started(
    command: Callable[[int, int], Sequence[str]], answers: Callable[[int, int], bool], log: Path
) -> Iterator[tuple[int, int]]:
    """A server on two free ports; on others, if somebody takes them in the meantime."""
    with ExitStack() as stack:
        for _ in range(_TRIES):
            ports = _free_ports()
            process = _as_server(command(*ports), log)
            stack.callback(_end, process)
            wait_until(partial(_has_begun, process, partial(answers, *ports)), what="the server answers")
            if process.poll() is None:
                yield ports
                return
        raise UsageError(f"the server ended: {log.read_text()[-300:]}")


def _has_begun(process: "subprocess.Popen[bytes]", answers: Callable[[], bool]) -> bool:
    return process.poll() is not None or answers()


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    process.wait(patient(30))


def _as_server(command: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
    """A process of ours; of `nobody` if we are root, as PostgreSQL wants it."""
    who: dict[str, Any] = {}
    if os.geteuid() == 0 and "redis" not in command[0]:
        who = {"user": "nobody", "group": "nogroup", "extra_groups": []}
    with log.open("wb") as file:
        try:
            return subprocess.Popen(command, stdout=file, stderr=file, cwd="/", **who)
        except PermissionError as error:
            raise UsageError(f"the user nobody cannot run {command[0]}: {error}") from None


def _give_away(path: Path) -> None:
    if os.geteuid() == 0:
        shutil.chown(path, "nobody", "nogroup")


def _readable(file: Path, folder: Path) -> Path:
    """A copy that only the server may read, as it wants it."""
    copy = folder / f"{file.parent.name}-{file.name}"
    shutil.copy(file, copy)
    copy.chmod(0o600)
    _give_away(copy)
    return copy


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        for free in (one, two):
            free.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1]), int(two.getsockname()[1])
