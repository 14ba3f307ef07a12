"""Series as blocks of a Prometheus: written as OpenMetrics, and read by promtool."""

from collections.abc import Iterable
from math import isnan
from pathlib import Path

from debian_packages import output_of, prometheus_programs
from preview.evening.series import Series, Values

_PROMTOOL_SECONDS = 180.0


def write_blocks(series: Iterable[Series], times: Values, folder: Path) -> None:
    """Make the blocks in `folder`, a new data directory. Raises UsageError with promtool's words when it fails."""
    text = folder.parent / "series.om"
    moments = [f" {moment:.0f}\n" for moment in times]
    with text.open("w", encoding="utf-8") as file:
        for each in series:
            labels = ",".join(f'{name}="{value}"' for name, value in each.labels.items())
            head = f"{each.name}{{{labels}}} "
            file.write(
                "".join(
                    f"{head}{value:.10g}{moment}"
                    for value, moment in zip(each.values.tolist(), moments, strict=True)
                    if not isnan(value)
                )
            )
        file.write("# EOF\n")
    words: list[str | Path] = ["tsdb", "create-blocks-from", "--max-block-duration=54h", "openmetrics", text, folder]
    output_of([prometheus_programs()[1], *words], folder.parent, _PROMTOOL_SECONDS)
    text.unlink()
