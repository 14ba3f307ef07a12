"""Another package named `scheduler` is noticed, in real processes with real search paths."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import streamworkers
from patience import patient
from streamworkers.engine.host.scheduler_package import (
    find_scheduler_conflict,
    list_other_owners,
    require_own_scheduler,
)
from streamworkers.errors import UsageError

ROOT = Path(streamworkers.__file__).parent.parent


def _run(*words: str, path: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(path)}
    return subprocess.run(
        [sys.executable, *words],
        cwd=path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=patient(100),
        check=False,
    )


def test_our_own_package_is_accepted() -> None:
    assert find_scheduler_conflict() is None


@pytest.mark.parametrize("name", ["scheduler/__init__.py", "scheduler.py"])
def test_a_package_that_hides_ours_is_named_before_anything_is_imported_from_it(name: str, tmp_path: Path) -> None:
    fake = tmp_path / name
    fake.parent.mkdir(exist_ok=True)
    fake.write_text("raise SystemExit('imported')\n")
    answer = _run("-m", "streamworkers", "scheduler", "--once", path=tmp_path)
    assert answer.returncode == 2
    assert f"Error: `import scheduler` finds {fake}, which hides the package of streamworkers" in answer.stderr
    assert "take it off the path (PYTHONPATH, the current folder)" in answer.stderr
    assert _run("-m", "streamworkers", "version", path=tmp_path).returncode == 0


def _folder_with_links(folder: Path) -> Path:
    """A folder as site-packages would be after another distribution has overwritten ours."""
    (folder / "streamworkers").symlink_to(ROOT / "streamworkers")
    (folder / "scheduler").mkdir()
    return folder


@pytest.mark.parametrize("text", ["", "import no_such_package\n"])
def test_a_package_that_has_overwritten_ours_is_named(text: str, tmp_path: Path) -> None:
    folder = _folder_with_links(tmp_path)
    (folder / "scheduler" / "__init__.py").write_text(text)
    (folder / "Scheduler-0.8.8.dist-info").mkdir()
    (folder / "Scheduler-0.8.8.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: Scheduler\n")
    (folder / "Scheduler-0.8.8.dist-info" / "top_level.txt").write_text("scheduler\n")
    answer = _run("-m", "streamworkers", "scheduler", "--once", path=folder)
    assert answer.returncode == 2
    assert "is not the one of streamworkers: another distribution has overwritten it" in answer.stderr
    assert "uninstall Scheduler (pip uninstall Scheduler), then install streamworkers again" in answer.stderr


@pytest.mark.parametrize(
    ("file", "text", "owns"),
    [
        ("top_level.txt", "other\nscheduler\n", True),
        ("top_level.txt", "schedulers\n", False),
        ("RECORD", "scheduler/__init__.py,sha256=x,9\n", True),
        ("RECORD", "other.py,,\nscheduler.py,sha256=x,9\n", True),
        ("RECORD", "other/scheduler/__init__.py,,\nscheduler.pyi,,\nschedulers/__init__.py,,\n", False),
        ("INSTALLER", "pip\n", False),
    ],
)
def test_what_a_distribution_installs_is_read_from_its_metadata(
    file: str, text: str, owns: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "foreign-1.dist-info").mkdir()
    (tmp_path / "foreign-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\n")
    (tmp_path / "foreign-1.dist-info" / file).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert list_other_owners() == ["foreign"] * owns


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    conflict = find_scheduler_conflict()
    assert conflict is not None
    assert conflict.startswith(f"the package `scheduler` is missing, expected in {ROOT / 'scheduler'}: ")
    with pytest.raises(UsageError, match="is missing"):
        require_own_scheduler()
