"""What user code gives the ledger to keep is JSON within a limit."""

import pytest

from streamworkers.engine.ledger.json_text import MOST_CHARACTERS, dump_bounded


def test_a_value_is_kept_up_to_its_limit() -> None:
    assert len(dump_bounded("result", 1, "x" * (MOST_CHARACTERS - 2))) == MOST_CHARACTERS
    with pytest.raises(ValueError, match="result of 3 takes 1048577 characters of JSON, over the limit of 1048576"):
        dump_bounded("result", 3, "x" * (MOST_CHARACTERS - 1))
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump_bounded("result", 1, float("nan"))
