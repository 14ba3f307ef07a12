"""What is no file is not opened, or not waited for without a bound."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamworkers.cli import files
from streamworkers.cli.files import read_file
from streamworkers.errors import BadInputError
from streamworkers.market.files.csv_lines import read_line_blocks
from streamworkers.plain_files import open_plain_file


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A named pipe that nobody writes to."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A socket in the file system."""
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("door")
        yield Path("door")


@pytest.mark.parametrize(("name", "kind"), [("/dev/zero", "a device"), ("/", "a folder")])
def test_what_never_ends_is_no_file_of_bars(name: str, kind: str) -> None:
    with pytest.raises(BadInputError, match=f"^{name} is {kind}, not a file$"):
        next(read_line_blocks(Path(name)))


def test_a_pipe_and_a_socket_are_no_files(pipe: Path, door: Path) -> None:
    with pytest.raises(BadInputError, match=f"^{pipe} is a pipe, not a file$"):
        open_plain_file(pipe)
    with pytest.raises((BadInputError, OSError)):
        open_plain_file(door)


def test_a_pipe_on_the_command_line_has_a_bound(pipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_MOST_SECONDS", 0.05)
    with pytest.raises(BadInputError, match=rf"^{pipe} has not ended within 0\.05 s$"):
        read_file(pipe, 100)


def test_what_comes_through_a_pipe_is_read(pipe: Path) -> None:
    writer = threading.Thread(target=pipe.write_text, args=("price > 1",))
    writer.start()
    assert read_file(pipe, 100) == "price > 1"
    writer.join()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"nowhere cannot be read: No such file or directory$"):
        read_file(tmp_path / "nowhere", 100)
