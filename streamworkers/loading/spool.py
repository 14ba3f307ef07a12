"""Bars on their way from a provider to a table: in memory while they are few, else in a file that nobody else sees."""

import zlib
from collections.abc import Iterator
from tempfile import SpooledTemporaryFile

from streamworkers.market.bars.arrays import BarArrays, unpack_bars

_MEMORY_BYTES = 1 << 20
_LENGTH_BYTES = 8


class BarSpool:
    """Parts of a series in order. Memory stays the same however many there are."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(max_size=_MEMORY_BYTES)  # noqa: SIM115  # closed by close()
        self.count = 0
        self.first: int | None = None
        self.last: int | None = None

    def add(self, bars: BarArrays) -> None:
        """Append a part; it may be empty."""
        packed = bars.pack()
        self._file.write(len(packed).to_bytes(_LENGTH_BYTES, "little"))
        self._file.write(packed)
        if not len(bars):
            return
        self.count += len(bars)
        self.first = int(bars.starts[0]) if self.first is None else self.first
        self.last = int(bars.starts[-1])

    def __iter__(self) -> Iterator[BarArrays]:
        self._file.seek(0)
        while head := self._file.read(_LENGTH_BYTES):
            yield unpack_bars(self._file.read(int.from_bytes(head, "little")))

    def close(self) -> None:
        """Forget the bars."""
        self._file.close()

    def __del__(self) -> None:
        # What a call of a handler leaves behind, its engine only drops.
        self._file.close()


def pack_small(bars: BarArrays) -> bytes:
    """One part for a table, compressed."""
    return zlib.compress(bars.pack(), 1)


def unpack_small(packed: bytes) -> BarArrays:
    """One part from a table."""
    return unpack_bars(zlib.decompress(packed))
