"""Interpreters of the supported Python versions, each with a virtual environment of the locked dependencies."""

import hashlib
import os
import shutil
import sys
from pathlib import Path

from debian_packages import FOLDER, output_of
from streamworkers.errors import UsageError

REPOSITORY = Path(__file__).parent.parent.parent
OWN_PYTHON = f"python-{sys.version_info.major}.{sys.version_info.minor}"
PYTHONS = tuple(dict.fromkeys((OWN_PYTHON, "python-3.11", "python-3.12", "python-3.13")))
_VERSION_SECONDS = 30.0
_INSTALL_SECONDS = 900.0
_SAY_VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"


def python_named(name: str) -> Path | None:
    """The interpreter of a virtual environment of that version; None where the machine has no such Python.

    Raises UsageError when the dependencies cannot be installed.
    """
    if name == OWN_PYTHON:
        return Path(sys.executable)
    found = find_interpreter(name.removeprefix("python-"))
    return None if found is None else _with_dependencies(found, FOLDER / name)


def find_interpreter(version: str) -> Path | None:
    """An interpreter on the PATH, or one that pyenv has."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    on_path = shutil.which(f"python{version}")
    candidates = [Path(on_path)] if on_path else []
    candidates += sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"), reverse=True)
    return next((path for path in candidates if _is_of(path, version)), None)


def _is_of(program: Path, version: str) -> bool:
    try:
        return output_of([program, "-c", _SAY_VERSION], Path.cwd(), _VERSION_SECONDS).strip() == version
    except UsageError:
        return False


def _with_dependencies(interpreter: Path, folder: Path) -> Path:
    """The `python` of a virtual environment, made again when the dependencies have changed."""
    files = [REPOSITORY / name for name in ("requirements.lock", "pyproject.toml", "fakes/pyproject.toml")]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    stamp, python = folder / "installed", folder / "bin" / "python"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == digest:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    install: list[str | Path] = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    commands: list[list[str | Path]] = [
        [interpreter, "-m", "venv", folder],
        [*install, "--require-hashes", "--no-deps", "--requirement", "requirements.lock"],
        [*install, "--no-build-isolation", "--no-deps", "--editable", ".", "--editable", "fakes"],
    ]
    for command in commands:
        output_of(command, REPOSITORY, _INSTALL_SECONDS)
    stamp.write_text(digest, encoding="utf-8")
    return python
