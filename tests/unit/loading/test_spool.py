"""Bars in a spool come out as they went in, whether they stayed in memory or not."""

import gc
from tempfile import SpooledTemporaryFile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamworkers.loading.spool import BarSpool, pack_small, unpack_small
from streamworkers.market.bars.bars import NO_BARS, Bars


def bars_of(first: int, count: int) -> Bars:
    starts = np.arange(first, first + count)
    price = starts.astype(np.float64)
    return Bars(starts.view("datetime64[ms]"), price, price + 2, price - 1, price + 1, starts * 3)


def same(left: Bars, right: Bars) -> bool:
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in Bars.__slots__)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 9_000), max_size=6))
def test_parts_come_out_in_order_and_as_often_as_they_are_asked_for(counts: list[int]) -> None:
    spool = BarSpool()
    parts: list[Bars] = []
    for count in counts:
        parts.append(bars_of(sum(counts[: len(parts)]), count))
        spool.add(parts[-1])
    for _ in range(2):
        assert all(same(left, right) for left, right in zip(spool, parts, strict=True))
    total = sum(counts)
    assert (spool.count, spool.first, spool.last) == (total, 0 if total else None, total - 1 if total else None)
    spool.close()


def test_an_empty_spool_has_no_ends() -> None:
    spool = BarSpool()
    spool.add(NO_BARS)
    assert (spool.count, spool.first, spool.last, [len(part) for part in spool]) == (0, None, None, [0])


def test_a_large_series_leaves_memory_and_a_spool_that_is_dropped_closes_its_file() -> None:
    spool = BarSpool()
    spool.add(bars_of(0, 100))
    file: SpooledTemporaryFile[bytes] = spool._file
    assert not file._rolled  # type: ignore[attr-defined]  # how else is it told?
    spool.add(bars_of(100, 30_000))
    assert file._rolled  # type: ignore[attr-defined]
    assert sum(map(len, spool)) == spool.count == 30_100
    del spool
    gc.collect()
    assert file.closed


def test_a_closed_spool_holds_nothing() -> None:
    spool = BarSpool()
    spool.add(bars_of(0, 5))
    spool.close()
    with pytest.raises(ValueError, match="closed file"):
        list(spool)


@pytest.mark.parametrize("count", [0, 1, 400])
def test_a_part_for_a_table_is_compressed_and_comes_back(count: int) -> None:
    bars = bars_of(1_764_167_400_000, count)
    packed = pack_small(bars)
    assert same(unpack_small(packed, "ms"), bars)
    assert count < 10 or len(packed) < len(bars.pack())
