"""A job that a test of the loader adds to the others, so that these need not load the loader."""

from typing import ClassVar

from streamworkers.jobs.load_ohlcv import LoadOhlcv


class LoadingApart(LoadOhlcv):
    """Loads bars, but lets the items of a symbol go to different workers."""

    name: ClassVar[str] = "loading_apart"
    queue: ClassVar[str] = "apart"
    first_queue: ClassVar[str | None] = None
    keeps_keys_together: ClassVar[bool] = False
