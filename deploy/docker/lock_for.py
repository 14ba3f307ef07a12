"""Prints the part of requirements.lock that a section of pyproject.toml needs: `dependencies` or `build-system`.

pip resolves the names, held to the versions of the lock. What is printed are the lock's own entries with their hashes,
for `pip install --require-hashes --no-deps`: nothing gets into the image that the lock does not name.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

LOCK = Path("requirements.lock")
PROJECT = Path("pyproject.toml")


def entries_of(lock: str) -> list[str]:
    """The entries of a lock file, each with its lines of hashes."""
    return [entry for entry in re.split(r"(?m)^(?=[A-Za-z0-9])", lock) if entry.strip()]


def pins_of(lock: str) -> str:
    """The entries without hashes, as constraints."""
    return "".join(entry.split("\\", 1)[0].rstrip() + "\n" for entry in entries_of(lock))


def part_of(lock: str, names: set[str]) -> str:
    """The entries with these names. Raises ValueError for a name that the lock lacks."""
    wanted = {_canonical(name) for name in names}
    found = [entry for entry in entries_of(lock) if _name_of(entry) in wanted]
    if missing := wanted - {_name_of(entry) for entry in found}:
        raise ValueError(f"{LOCK} lacks {', '.join(sorted(missing))}: run `make lock`")
    return "".join(found)


def requirements_of(project: dict[str, Any], section: str) -> list[str]:
    """The requirements of a section."""
    requirements = {
        # The image serves the API too.
        "dependencies": [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["api"]],
        "build-system": project["build-system"]["requires"],
    }
    return list(requirements[section])


def resolve(requirements: list[str], pins: Path) -> set[str]:
    """Names of all packages that these requirements need on this machine, resolved by pip without installing."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    answer = subprocess.run(  # noqa: S603  # pip itself, no shell
        [*command, "--only-binary", ":all:", "--constraint", str(pins), *requirements],
        check=True,
        stdout=subprocess.PIPE,
    )
    return {entry["metadata"]["name"] for entry in json.loads(answer.stdout)["install"]}


def _name_of(entry: str) -> str:
    return _canonical(entry.partition("==")[0].strip())


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    """Print the part for the section named on the command line."""
    lock = LOCK.read_text(encoding="utf-8")
    pins = Path("pins.txt")
    pins.write_text(pins_of(lock), encoding="utf-8")
    try:
        names = resolve(requirements_of(tomllib.loads(PROJECT.read_text(encoding="utf-8")), sys.argv[1]), pins)
    finally:
        pins.unlink()
    sys.stdout.write(part_of(lock, names))


if __name__ == "__main__":
    main()
