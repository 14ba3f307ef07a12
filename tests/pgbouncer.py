"""A PgBouncer of Debian's package before a test's PostgreSQL, with the file that docs/guides/operations.md shows."""

import configparser
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from debian_packages import unpacked
from harness import wait_until
from patience import patient
from tcp_proxy import TcpProxy

_GUIDE = Path(__file__).parent.parent / "docs" / "guides" / "operations.md"


def documented_file() -> configparser.ConfigParser:
    """The `pgbouncer.ini` of the guide."""
    text = _GUIDE.read_text(encoding="utf-8").partition("```ini\n; pgbouncer.ini\n")[2].partition("```")[0]
    parsed = configparser.ConfigParser(delimiters="=", interpolation=None)
    parsed.read_string(text)
    return parsed


@contextmanager
def running_pgbouncer(database_url: str, logins: Mapping[str, str], **changed: str) -> Iterator[str]:
    """The URL of the test's database through a PgBouncer, for these logins and passwords.

    `changed` replaces settings of the documented file, `pool_mode` for example. Raises UsageError where Debian's
    package cannot be had.
    """
    package = unpacked("pgbouncer", "pgbouncer")
    libraries = sorted({str(path.parent) for path in package.glob("**/lib/**/*.so.*")})
    folder = Path(tempfile.mkdtemp(prefix="sw-pgbouncer-"))
    server, port = conninfo_to_dict(database_url), _free_port()
    # PgBouncer does not run as root, and no other user may enter the folder of the server's socket.
    proxy = TcpProxy(f"{server['host']}/.s.PGSQL.{server.get('port', 5432)}")
    try:
        log = (folder / "log").open("wb")
        with log:
            process = subprocess.Popen(
                [
                    package / "usr" / "sbin" / "pgbouncer",
                    _write_files(
                        folder, str(server["dbname"]), proxy.port, logins, {"listen_port": str(port), **changed}
                    ),
                ],
                env={**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)},
                stdout=log,
                stderr=log,
            )
        try:
            url = make_conninfo(database_url, host="127.0.0.1", port=port)
            wait_until(lambda: _answers(port), what=f"PgBouncer answers: {(folder / 'log').read_text()[-400:]}")
            yield url
        finally:
            process.terminate()
            process.wait(patient(20))
    finally:
        proxy.close()
        shutil.rmtree(folder)


def _write_files(
    folder: Path, database: str, server_port: int, logins: Mapping[str, str], changed: Mapping[str, str]
) -> Path:
    """The documented file with the addresses of this test, and the list of logins."""
    parsed = documented_file()
    [documented] = parsed.options("databases")
    parsed.remove_option("databases", documented)
    parsed.set("databases", database, f"host=127.0.0.1 port={server_port}")
    own = {"auth_file": str(folder / "userlist.txt"), "unix_socket_dir": "", **changed}
    if os.geteuid() == 0:
        own["user"] = "nobody"
    for name, value in own.items():
        parsed.set("pgbouncer", name, value)
    users = "".join(f'"{login}" "{password}"\n' for login, password in logins.items())
    (folder / "userlist.txt").write_text(users, encoding="utf-8")
    path = folder / "pgbouncer.ini"
    with path.open("w", encoding="utf-8") as file:
        parsed.write(file)
    folder.chmod(0o755)
    return path


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def session_id(connection: psycopg.Connection) -> int:
    """The process id of the server's session."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])
