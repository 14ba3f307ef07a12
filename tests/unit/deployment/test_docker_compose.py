"""Docker Compose itself reads docker-compose.yml as the other tests do; skipped, visibly, where it is not installed."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patience import patient
from topology.compose import COMPOSE_FILE, compose_text, services, variables_of

REQUIRED = {name: "given" for name, (operator, _) in variables_of(compose_text()).items() if operator == ":?"}
SERVICES = services(REQUIRED)
Answer = subprocess.CompletedProcess[str]


def _find_compose() -> list[str] | None:
    """The words that call Compose 2 or newer, which needs no daemon to read a file; None if there is none."""
    for words in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(words[0]) is None:
            continue
        answer = subprocess.run(
            [*words, "version", "--short"], capture_output=True, text=True, timeout=patient(60), check=False
        )
        version = answer.stdout.strip().removeprefix("v").partition(".")[0]
        if answer.returncode == 0 and version.isdecimal() and int(version) >= 2:
            return words
    return None


@pytest.fixture
def compose(tmp_path: Path) -> Callable[..., Answer]:
    """Run `docker compose config` on a copy of the file, with these variables and no others of ours."""
    words = _find_compose()
    if words is None:
        pytest.skip("Docker Compose 2 is not installed")
    shutil.copy(COMPOSE_FILE, tmp_path)

    def run(given: dict[str, str], *more: str) -> Answer:
        (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in given.items()), encoding="utf-8")
        command = [*words, "--profile", "*", "config", *more]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=patient(60), check=False)

    return run


def test_compose_accepts_the_file_without_a_warning(compose: Callable[..., Answer]) -> None:
    answer = compose(REQUIRED, "--quiet")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


def test_compose_has_the_services_images_and_commands_that_the_tests_read(compose: Callable[..., Answer]) -> None:
    found: dict[str, Any] = json.loads(compose(REQUIRED, "--format", "json").stdout)
    assert found["name"] == "streamworkers"
    assert set(found["services"]) == set(SERVICES)
    for name, service in SERVICES.items():
        made = found["services"][name]
        assert made["image"] == service["image"], name
        assert set(made.get("depends_on", {})) == set(service.get("depends_on", {})), name
        given = {key: str(value) for key, value in (service.get("environment") or {}).items() if value is not None}
        assert {key: made["environment"].get(key) for key in given} == given, name
        if isinstance(service.get("command"), list):
            assert made["command"] == [str(word).replace("$$", "$") for word in service["command"]], name


@pytest.mark.parametrize("name", REQUIRED)
def test_compose_names_a_password_that_is_not_set(compose: Callable[..., Answer], name: str) -> None:
    answer = compose({other: value for other, value in REQUIRED.items() if other != name}, "--quiet")
    assert answer.returncode != 0
    assert f"required variable {name} is missing a value: set it in .env" in answer.stderr
