"""Each proof that docs/security.md names is there."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
PAGE = (TESTS.parent / "docs" / "security.md").read_text(encoding="utf-8")
PROOFS = sorted(set(re.findall(r"`([a-z_/]+/test_\w+\.py)(?:::(\w+))?`", PAGE)))


@pytest.mark.parametrize(("file", "test"), PROOFS)
def test_a_proof_is_a_test(file: str, test: str) -> None:
    text = (TESTS / file).read_text(encoding="utf-8")
    assert re.search(rf"^def {test or 'test_'}", text, re.MULTILINE)


def test_each_guarantee_names_a_proof() -> None:
    table = PAGE.partition("| guarantee | proof |\n| --- | --- |\n")[2].partition("\n\n")[0].split("\n")
    assert len(table) > 15
    assert [row for row in table if "test_" not in row] == []
