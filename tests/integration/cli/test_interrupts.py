"""Ctrl-C at any moment of the start of a command: it ends with exit code 130, and prints no traceback."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from patience import patient

_MOMENTS = 8
_NOISE = "import time:"
_COMMANDS = """
import time
import click
from patience import patient
from streamworkers.engine.host.signals import Signals
from streamworkers.errors import ServiceUnreachableError

@click.command()
@click.argument("then")
def interrupted(then):
    import pressed_during_import
    if then == "fails":
        raise ServiceUnreachableError("nothing runs")
    if then == "handles":
        signals = Signals()
        signals.install()
        click.echo(f"asked to stop: {signals.wait(patient(60))}")
    if then == "waits":
        time.sleep(patient(60))
        click.echo("not interrupted")
"""


def _start(words: tuple[str, ...], folder: Path) -> subprocess.Popen[str]:
    """Start a command that writes a line to standard error after each import."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("STREAMWORKERS_")}
    return subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "streamworkers", *words],
        env=variables,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _count_imports(words: tuple[str, ...], folder: Path) -> int:
    with _start(words, folder) as command:
        _, err = command.communicate(timeout=patient(60))
    lines = [line for line in err.splitlines() if line.startswith(_NOISE)]
    package = next(number for number, line in enumerate(lines) if line.split()[-1] == "streamworkers")
    return len(lines) - package


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("enqueue", "indicators", "--symbols", "A"),
        ("status",),
        ("bars", "synthesize"),
        ("scheduler",),
        ("worker",),
    ],
    ids=lambda words: words[0],
)
def test_ctrl_c_during_imports_prints_nothing_and_is_exit_code_130(words: tuple[str, ...], tmp_path: Path) -> None:
    imports = _count_imports(words, tmp_path)
    codes = []
    for moment in range(_MOMENTS):
        # The first lines are those of the interpreter, before it executes anything of ours.
        wanted = 3 + (imports - 6) * moment // _MOMENTS
        with _start(words, tmp_path) as command:
            assert command.stderr is not None
            seen = None
            for line in command.stderr:
                if seen is None and line.split()[-1] == "streamworkers":
                    seen = 0
                elif seen is not None:
                    seen += 1
                if seen == wanted:
                    break
            command.send_signal(signal.SIGINT)
            out, err = command.communicate(timeout=patient(60))
        rest = [line for line in err.splitlines() if line and not line.startswith(_NOISE)]
        codes.append(command.returncode)
        assert "Traceback" not in out + err, (wanted, rest)
        assert "KeyboardInterrupt" not in out + err, (wanted, rest)
        if command.returncode == 130:
            assert rest == [], wanted
    # A command that was about to end by itself, as there are no services here, may do so first.
    assert codes.count(130) >= _MOMENTS - 2, codes


def test_a_command_in_the_background_of_a_shell_ignores_ctrl_c(tmp_path: Path) -> None:
    script = f"trap '' INT; echo ready; exec {sys.executable} -m streamworkers version"
    with subprocess.Popen(["sh", "-c", script], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == "ready\n"
        command.send_signal(signal.SIGINT)
        out, _ = command.communicate(timeout=patient(60))
    assert out.startswith("streamworkers ")
    assert command.returncode == 0


@pytest.mark.parametrize(
    ("then", "out", "code"),
    [("fails", "", 130), ("ends", "", 130), ("waits", "", 130), ("handles", "asked to stop: True\n", 0)],
)
def test_ctrl_c_in_the_last_import_of_a_command_is_not_too_late(then: str, out: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "pressed_during_import.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    (tmp_path / "command_of_test.py").write_text(_COMMANDS)
    package = tmp_path / "command_of_test-0.0.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: command-of-test\nVersion: 0.0.0\n")
    (package / "entry_points.txt").write_text("[streamworkers.commands]\ninterrupted = command_of_test:interrupted\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    answer = subprocess.run(
        [sys.executable, "-m", "streamworkers", "interrupted", then],
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=patient(120),
    )
    assert (answer.stdout, answer.stderr.strip(), answer.returncode) == (out, "", code)
