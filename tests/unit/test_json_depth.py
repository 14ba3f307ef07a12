"""How deep JSON is nested is found in little memory, whatever its texts are."""

import tracemalloc
from collections.abc import Callable

import pytest

from streamworkers.api.reading import read_body
from streamworkers.json_depth import find_too_deep

SIZE = 1 << 18
LONG_TEXTS = ["x" * SIZE, r"\n" * (SIZE // 2), r"x\"" * (SIZE // 3), "[" * SIZE]


@pytest.mark.parametrize(
    ("text", "most", "place"),
    [
        ("[[]]", 2, None),
        ("[[]]", 1, 1),
        ('{"a": [1]}', 1, 6),
        (r'["[[", "\"[[", "\\", []]', 2, None),
        (r'["\\", [[]]]', 2, 8),
        ('["[[', 1, None),
        ('["\\', 1, None),
        ("]]]][[", 1, None),
    ],
)
def test_brackets_are_counted_where_they_are_no_part_of_a_text(text: str, most: int, place: int | None) -> None:
    assert find_too_deep(text, most) == place


def _peak(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("text", LONG_TEXTS, ids=lambda text: text[:3])
def test_a_long_text_takes_no_more_memory_than_a_few_copies_of_it(text: str) -> None:
    document = f'{{"a": "{text}"}}'
    assert _peak(lambda: find_too_deep(document, 8)) < 4 * SIZE
    assert _peak(lambda: read_body(document.encode(), dict[str, str])) < 8 * SIZE
