"""Ends no process of a handler, in every process with this folder on its path: a control of test_child_processes.py.

Python imports a module of this name when it starts.
"""

from streamworkers.engine import processes


def _end_nothing(*_: object) -> tuple[int, bool]:
    return 0, True


setattr(processes, "end_children", _end_nothing)  # noqa: B010  # with other parameters
setattr(processes, "end_all_children", _end_nothing)  # noqa: B010
