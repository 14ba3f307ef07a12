"""TA-Lib's functions over arrays, loaded when the first of them is used.

`import talib` loads pandas too, which takes a third of the start of a process; most workers, and most commands, call
none of its functions.
"""

import importlib
import inspect
from typing import TYPE_CHECKING, Any


class _LazyTaLib:
    """Looks up a function of TA-Lib once, without its wrapper for pandas and polars, which arrays do not need."""

    def __getattr__(self, name: str) -> Any:
        function = inspect.unwrap(getattr(importlib.import_module("talib"), name))
        self.__dict__[name] = function
        return function


if TYPE_CHECKING:
    import talib
else:
    talib = _LazyTaLib()

__all__ = ["talib"]
