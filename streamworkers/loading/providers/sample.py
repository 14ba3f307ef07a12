"""Real daily bars in the public domain: AAPL, FB, GOOG, IBM and MSFT, 2000 to 2013, from bokeh_sampledata."""

from collections.abc import Iterator
from functools import cached_property
from typing import ClassVar

from streamworkers.errors import UsageError
from streamworkers.loading.providers.provider import BarOrigin, BarsRequest, Page, Provider
from streamworkers.loading.providers.rows import build_page
from streamworkers.market.bars.bar_times import DAYS
from streamworkers.market.bars.column_rules import validate_rows
from streamworkers.market.bars.text_rows import BarRows
from streamworkers.market.calendar.timeframes import TIMEFRAMES

SAMPLE_SYMBOLS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")


def read_sample() -> Iterator[BarRows]:
    """Yield the daily bars, one symbol after another, validated as the rows of a file are.

    Raises UsageError if the package with the data is not installed.
    """
    try:
        from bokeh_sampledata import stocks
    except ImportError as error:
        raise UsageError(
            "the sample bars need the package bokeh_sampledata; pip install 'streamworkers[demo]'"
        ) from error
    lines = 0
    for symbol in SAMPLE_SYMBOLS:
        data = getattr(stocks, symbol)
        days = [str(day) for day in data["date"]]
        values = [list(map(str, data[name])) for name in ("open", "high", "low", "close", "volume")]
        columns = [[symbol] * len(days), days, *values]
        numbers = range(lines + 1, lines + len(days) + 1)
        texts = list(map(",".join, zip(*columns, strict=True)))
        yield validate_rows(numbers, columns, texts, DAYS).rows
        lines += len(days)


class Sample(Provider):
    """The provider `sample`: the same bars by the interface of a provider."""

    name: ClassVar[str] = "sample"
    origin = BarOrigin.SAMPLE
    adjusted: ClassVar[bool | None] = False

    @cached_property
    def _bars(self) -> dict[str, BarRows]:
        return {rows.symbols[0]: rows for rows in read_sample()}

    def pages(self, request: BarsRequest, cursor: str | None = None) -> Iterator[Page]:
        """Yield one page, or none for a symbol that is not in the sample."""
        del cursor
        rows = self._bars.get(request.symbol)
        if rows is not None:
            yield build_page(request, TIMEFRAMES["day"], rows)
