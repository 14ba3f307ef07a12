"""Holds bars on their way from a provider to a table: in memory while they are few, else in an unnamed file."""

import zlib
from collections.abc import Iterator
from tempfile import SpooledTemporaryFile

from streamworkers.market.bars.bars import Bars, TimeUnit, unpack_bars

_MEMORY_BYTES = 1 << 18  # of each of the up to 120 spools that a batch has
_LENGTH_BYTES = 8


class BarSpool:
    """The parts of a series, in order; memory does not grow with their number."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(max_size=_MEMORY_BYTES)  # noqa: SIM115  # closed by close()
        self.count = 0
        self.first: int | None = None
        self.last: int | None = None
        self._unit: TimeUnit = "ms"

    def add(self, bars: Bars) -> None:
        """Append a part, which may be empty."""
        packed = bars.pack()
        self._file.write(len(packed).to_bytes(_LENGTH_BYTES, "little"))
        self._file.write(packed)
        if not len(bars):
            return
        self.count += len(bars)
        self._unit = "D" if bars.times.dtype == "datetime64[D]" else "ms"
        self.first = int(bars.starts[0]) if self.first is None else self.first
        self.last = int(bars.starts[-1])

    def __iter__(self) -> Iterator[Bars]:
        self._file.seek(0)
        while head := self._file.read(_LENGTH_BYTES):
            yield unpack_bars(self._file.read(int.from_bytes(head, "little")), self._unit)

    def close(self) -> None:
        """Delete the bars, in memory and on disk."""
        self._file.close()

    def __del__(self) -> None:
        # The engine drops the outcomes of a call that it does not save, without closing their spools.
        self._file.close()


def pack_small(bars: Bars) -> bytes:
    """Return a part compressed, for a checkpoint."""
    return zlib.compress(bars.pack(), 1)


def unpack_small(packed: bytes, unit: TimeUnit) -> Bars:
    """Return a part of a checkpoint."""
    return unpack_bars(zlib.decompress(packed), unit)
