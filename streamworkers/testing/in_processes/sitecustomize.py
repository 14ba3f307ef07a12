"""Arms a worker process that a test has started: `kill_points.py` and `clock.py` say for what.

Python imports a module of this name when it starts, from the first folder of its path that has one. Only a test puts
this folder there, so a pool cannot be armed by a setting. Processes that are none of a pool's are left alone.
"""

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent
_WORKER_MODULES = ("streamworkers.engine.worker.fork_server", "streamworkers.engine.worker.main")


def _run_next() -> None:
    """Run the module of this name that the process would have without us, such as that of a measuring tool."""
    others = [place for place in sys.path if Path(place or ".").resolve() != _FOLDER]
    spec = PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(module_from_spec(spec))


_run_next()
if not {*sys.orig_argv}.isdisjoint(_WORKER_MODULES):
    from streamworkers.testing import clock, kill_points

    kill_points.arm()
    clock.arm_worker()
elif "streamworkers" in sys.orig_argv or any(word.endswith("/streamworkers") for word in sys.orig_argv):
    from streamworkers.testing import clock

    clock.arm_prepare()
