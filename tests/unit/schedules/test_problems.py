"""What is wrong with what schedules come after."""

import pytest

from streamworkers.errors import BadInputError
from streamworkers.schedules.problems import AfterLink, find_link_problems, require_no_circle


def _links(**words: str) -> dict[str, AfterLink]:
    """Links by name: `b='a'` comes after a, `-` is paused, `b='-a'` both."""
    return {name: AfterLink(word.strip("-") or None, not word.startswith("-")) for name, word in words.items()}


@pytest.mark.parametrize(
    ("links", "problems"),
    [
        (_links(a="", b="a", c="b"), {}),
        (_links(a="-", b="a"), {"b": "it comes after 'a', which is paused"}),
        (
            _links(a="-", b="a", c="b", d="c"),
            {
                "b": "it comes after 'a', which is paused",
                "c": "it comes after 'a' (by way of b), which is paused",
                "d": "it comes after 'a' (by way of c, b), which is paused",
            },
        ),
        (_links(a="-", b="-a"), {}),
        (_links(a="-", b="-a", c="b"), {"c": "it comes after 'b', which is paused"}),
        (_links(a="a"), {"a": "it waits in a circle: a after a"}),
        (
            _links(a="b", b="a", c="b", d=""),
            {
                "a": "it waits in a circle: a after b after a",
                "b": "it waits in a circle: b after a after b",
                "c": "it waits in a circle: c after b after a after b",
            },
        ),
        (_links(b="gone"), {}),
    ],
)
def test_circles_and_paused_links_are_named(links: dict[str, AfterLink], problems: dict[str, str]) -> None:
    found = find_link_problems(links)
    assert {name: problem.text for name, problem in found.items()} == problems
    assert all(problem.is_broken == ("circle" in problem.text) for problem in found.values())


def test_a_circle_among_definitions_is_rejected() -> None:
    require_no_circle({"a": None, "b": "a", "c": "elsewhere"})
    with pytest.raises(BadInputError) as raised:
        require_no_circle({"d": "a", "a": "c", "b": "a", "c": "b"})
    assert str(raised.value) == "schedules come after each other in a circle: a after c after b after a"


def test_a_long_chain_is_followed_to_its_end() -> None:
    links = {f"s{n}": AfterLink(f"s{n - 1}" if n else None, enabled=n > 0) for n in range(500)}
    found = find_link_problems(links)
    assert len(found) == 499
    assert found["s2"].text == "it comes after 's0' (by way of s1), which is paused"
