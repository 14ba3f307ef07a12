"""The table of docs/reference/doctor.md is what the doctor's code says."""

from pathlib import Path

from streamworkers.diagnosis.doctor import KINDS

ROOT = Path(__file__).parent.parent.parent


def kinds_table() -> str:
    """The table of docs/reference/doctor.md, from the code."""
    rows = [
        f"| `{name}` | {kind.meaning} | {kind.fix or 'nothing'} | {kind.by_hand or 'nothing'} |"
        for name, kind in KINDS.items()
    ]
    header = ["| kind | meaning | what `--fix` does | what is left to do by hand |", "| --- | --- | --- | --- |"]
    return "\n".join([*header, *rows])


def test_the_table_of_kinds_is_the_code() -> None:
    assert kinds_table() in (ROOT / "docs" / "reference" / "doctor.md").read_text(encoding="utf-8")


def test_every_kind_says_what_can_be_done() -> None:
    assert [name for name, kind in KINDS.items() if not (kind.fix or kind.by_hand)] == []
