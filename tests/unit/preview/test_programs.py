"""What draws the boards is installed where that can be done, and named where it cannot."""

import os
from pathlib import Path

import pytest

from preview import programs
from streamworkers.errors import UsageError


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the whole PATH, and a folder of the preview without modules."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    preview = tmp_path / "preview"
    preview.mkdir()
    monkeypatch.setattr(programs, "FOLDER", preview)
    return folder


def _program(folder: Path, name: str, says: str = "") -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{says}'\n", encoding="utf-8")
    program.chmod(0o755)


def test_what_is_missing_is_named_one_by_one(path: Path) -> None:
    assert programs.missing() == "node is not installed"
    _program(path, "node")
    assert programs.missing() == "chromium is not installed"
    _program(path, "chromium")
    assert programs.missing() == "Grafana's packages are not installed: `make dashboards-preview` does it"


def test_without_node_the_error_names_node_and_npm(path: Path) -> None:
    with pytest.raises(UsageError, match=r"node 20 or newer and npm, .* are not on the PATH: install them"):
        programs.prepare()
    _program(path, "node", "v20.1.0")
    with pytest.raises(UsageError, match="npm"):
        programs.prepare()


def test_an_old_node_is_rejected_with_its_version(path: Path) -> None:
    _program(path, "npm")
    _program(path, "node", "v18.19.0")
    with pytest.raises(UsageError, match=r"node v18.19.0 is too old to draw the boards: install version 20 or newer"):
        programs.prepare()


def test_a_user_who_may_not_install_chromium_is_told_how(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(path, "npm")
    _program(path, "node", "v22.1.0")
    _program(path, "apt-get")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(
        UsageError, match=r"chromium, which draws the boards, is not on the PATH.*`sudo apt-get install chromium`"
    ):
        programs.prepare()
    with pytest.raises(UsageError, match="chromium is not installed: `apt-get install chromium`"):
        programs.chromium()


def test_root_on_a_debian_installs_chromium_and_everybody_the_packages(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = path / "said"
    for name, version in (("npm", ""), ("node", "v22.1.0"), ("apt-get", "")):
        _program(path, name, version)
        with (path / name).open("a", encoding="utf-8") as file:
            file.write(f'echo "{name} $*" >> {said}\n')
    (programs.FOLDER / "node_modules").mkdir()
    (programs.FOLDER / "dist").mkdir()
    (programs.FOLDER / "package-lock.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    programs.prepare()
    programs.prepare()
    lines = said.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if "apt-get" in line and "install" in line] != []
    assert [line for line in lines if line.startswith("npm")] == ["npm ci --ignore-scripts"]
    assert [line for line in lines if "build" in line] == ["node build.mjs"]
    (programs.FOLDER / "package-lock.json").write_text('{"new": 1}', encoding="utf-8")
    programs.prepare()
    assert said.read_text(encoding="utf-8").count("npm ci") == 2
