"""The Dockerfile: pinned, without a compiler or root, and with only what the package needs."""

import importlib.util
import json
import re
import tomllib
from pathlib import Path
from types import ModuleType

import click
import pytest

from streamworkers.cli.main import cli

ROOT = Path(__file__).parent.parent.parent.parent
# A line that ends in a backslash continues on the next one.
LINES = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def lock_for() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lock_for", ROOT / "deploy/docker/lock_for.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _last_stage() -> list[str]:
    return LINES[max(number for number, line in enumerate(LINES) if line.startswith("FROM ")) :]


def _words(instruction: str) -> list[str]:
    [line] = [line for line in _last_stage() if line.startswith(instruction)]
    words: list[str] = json.loads(line[line.index("[") :])
    return words


def test_its_base_is_pinned_and_named_once() -> None:
    bases = [line.split()[1] for line in LINES if line.startswith("FROM ")]
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", bases[0])
    assert bases[1:] == ["python", "python"]


def test_its_python_is_one_that_the_package_supports() -> None:
    version = re.findall(r"FROM python:(3\.\d+)", LINES[1])
    assert f"Programming Language :: Python :: {version[0]}" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_its_user_is_not_root_and_known_by_number() -> None:
    [user] = [line.split()[1] for line in _last_stage() if line.startswith("USER ")]
    assert re.fullmatch(r"[1-9]\d{4,}:[1-9]\d{4,}", user)


def test_its_last_stage_installs_nothing_but_what_was_built() -> None:
    text = "\n".join(_last_stage())
    assert re.findall(r"\b(apt-get|apk|pip|gcc|build-essential|curl|wget)\b", text) == []
    assert [line for line in _last_stage() if line.startswith(("COPY", "ADD"))] == [
        "COPY --from=build /opt/streamworkers /opt/streamworkers"
    ]


def test_its_command_is_one_of_the_program() -> None:
    assert _words("ENTRYPOINT") == ["streamworkers"]
    name, *words = _words("CMD")
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    command.make_context(name, words)


def test_its_health_check_asks_the_port_of_its_command() -> None:
    words = _words("CMD")
    port = words[words.index("--metrics-port") + 1]
    assert f"METRICS_PORT={port}" in "\n".join(_last_stage())
    program, option, code = _words("HEALTHCHECK")
    assert (program, option) == ("python", "-c")
    assert "/livez" in code
    compile(code, "HEALTHCHECK", "exec")


def test_copied_files_exist_and_are_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for line in LINES:
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source.split('/')[0]}" in ignored


def test_every_package_is_checked_by_its_hash() -> None:
    installs = [command for line in LINES for command in line.split("&&") if re.search(r"pip .*install", command)]
    assert len(installs) == 3
    assert ["--require-hashes --no-deps" in command or "/wheels/" in command for command in installs] == [True] * 3


def test_a_part_of_the_lock_keeps_every_version_and_hash(lock_for: ModuleType) -> None:
    entries = lock_for.entries_of(LOCK)
    assert "".join(entries) == LOCK
    part = lock_for.part_of(LOCK, {"NumPy", "psycopg_binary"})
    assert set(re.findall(r"(?m)^([a-z-]+)==", part)) == {"numpy", "psycopg-binary"}
    assert all("--hash=sha256:" in entry for entry in lock_for.entries_of(part))
    assert "sha256" not in lock_for.pins_of(LOCK)
    assert lock_for.pins_of(LOCK).count("\n") == len(entries)


def test_a_package_that_the_lock_lacks_is_rejected(lock_for: ModuleType) -> None:
    with pytest.raises(ValueError, match="no-such-package"):
        lock_for.part_of(LOCK, {"click", "no_such.package"})


@pytest.mark.parametrize("section", ["dependencies", "build-system"])
def test_the_lock_holds_what_both_sections_ask_for(lock_for: ModuleType, section: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names = {re.split(r"[\[<>=;]", requirement)[0] for requirement in lock_for.requirements_of(project, section)}
    assert "pytest" not in names
    lock_for.part_of(LOCK, names)
