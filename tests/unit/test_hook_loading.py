"""Hooks are found by their entry points, and one that cannot work ends the start."""

from pathlib import Path

import pytest

from harness import SAMPLE_HOOKS, install_hooks
from streamworkers.errors import BadInputError
from streamworkers.hooks import load_hook_classes

_MODULE = """
from streamworkers.hooks import Hooks

class Fine(Hooks):
    def on_start(self, call): ...

class Misspelt(Hooks):
    def on_sucess(self, call, items): ...

class Unawaited(Hooks):
    async def on_dead(self, call, items): ...
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the path with a module of hooks."""
    (tmp_path / "written_hooks.py").write_text(_MODULE)
    (tmp_path / "broken_hooks.py").write_text("1 / 0\n")
    for each in (SAMPLE_HOOKS, tmp_path):
        monkeypatch.syspath_prepend(str(each))
    return tmp_path


def test_hooks_are_loaded_by_name(folder: Path) -> None:
    install_hooks({"PYTHONPATH": ""}, folder, second="written_hooks:Fine", first="sample_hooks:Idle")
    classes = load_hook_classes()
    assert {name: each.__name__ for name, each in classes.items()} == {"first": "Idle", "second": "Fine"}


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("nowhere:Fine", "hook 'mine' (nowhere:Fine) does not load: ModuleNotFoundError: No module named 'nowhere'"),
        ("written_hooks:Nothing", "hook 'mine' (written_hooks:Nothing) does not load: AttributeError: module"),
        ("broken_hooks:Fine", "hook 'mine' (broken_hooks:Fine) does not load: ZeroDivisionError: division by zero"),
        ("json:loads", "hook 'mine' (json:loads) is not a subclass of streamworkers.hooks.Hooks"),
        (
            "written_hooks:Misspelt",
            "hook 'mine' (written_hooks:Misspelt): no method is named 'on_sucess'; did you mean 'on_success'?",
        ),
        (
            "written_hooks:Unawaited",
            "hook 'mine' (written_hooks:Unawaited): on_dead is async, and workers call it as a plain method",
        ),
    ],
)
def test_a_hook_that_cannot_work_is_named(folder: Path, place: str, error: str) -> None:
    install_hooks({"PYTHONPATH": ""}, folder, mine=place)
    with pytest.raises(BadInputError) as caught:
        load_hook_classes()
    assert str(caught.value).startswith(error)


def test_a_name_that_is_no_label_is_rejected(folder: Path) -> None:
    install_hooks({"PYTHONPATH": ""}, folder, **{"My hook": "written_hooks:Fine"})
    with pytest.raises(BadInputError, match="hook 'My hook' is not a name of 1 to 64 small letters"):
        load_hook_classes()


def test_two_hooks_of_one_name_are_named(folder: Path) -> None:
    install_hooks({"PYTHONPATH": ""}, folder, mine="written_hooks:Fine")
    package = folder / "others_of_test-0.0.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: others-of-test\nVersion: 0.0.0\n")
    (package / "entry_points.txt").write_text("[streamworkers.hooks]\nmine = sample_hooks:Idle\n")
    with pytest.raises(BadInputError, match="two hooks are named 'mine': sample_hooks:Idle and written_hooks:Fine"):
        load_hook_classes()
