"""The table of docs/security.md has each limit of what is read, with its default."""

import re
from pathlib import Path

from streamworkers.config import Settings

_PAGE = (Path(__file__).parent.parent.parent / "docs" / "security.md").read_text(encoding="utf-8")
# Settings that limit something read, and whose names do not say so.
_OTHERS = {"api_body_bytes", "massive_answer_seconds"}
# Limits of other things than what is read.
_NOT_READ = {"max_stale_share"}


def test_each_setting_that_limits_what_is_read_is_in_the_table() -> None:
    limits = {name for name in Settings.model_fields if re.search(r"(^|_)max_", name)} - _NOT_READ | _OTHERS
    table = _PAGE.partition("## Limits of what is read")[2].partition("\n## ")[0]
    named = re.findall(r"`STREAMWORKERS_(\w+)=(\d+)`", table)
    assert sorted(named) == sorted((name.upper(), str(int(Settings.model_fields[name].default))) for name in limits)
