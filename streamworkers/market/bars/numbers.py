"""Numbers as people's files write them: currency signs, thousands, K, M and B, and the decimal comma."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

DecimalMark = Literal[".", ","]

UNKNOWN = r"\N"  # as COPY writes NULL
MISSING_WORDS = frozenset({"", "-", "--", "—", "n/a", "na", "null", "none", r"\n"})

_SIGN = r"(?P<sign>[+-]?)[$€£¥₹]?\s?(?P<after>[+-]?)"
_SUFFIX = r"(?P<suffix>[KMBTkmbt]?)"
_GROUPED = re.compile(
    rf"{_SIGN}(?P<whole>[0-9]{{1,3}}(?:,[0-9]{{2,3}})*,[0-9]{{3}}|[0-9]+|)(?:\.(?P<part>[0-9]*))?{_SUFFIX}"
)
_UNGROUPED = re.compile(rf"{_SIGN}(?P<whole>[0-9]+|)(?:\.(?P<part>[0-9]*))?{_SUFFIX}")
_BY_COMMA = re.compile(
    rf"{_SIGN}(?P<whole>[0-9]{{1,3}}(?:[.'\u2019 \u00a0\u202f][0-9]{{3}})+|[0-9]+|)(?:,(?P<part>[0-9]*))?\s?{_SUFFIX}€?"
)
_FACTORS = {"": 0, "K": 3, "M": 6, "B": 9, "T": 12}


@dataclass(frozen=True, slots=True)
class NumberStyle:
    """The decimal mark of a file, and whether its numbers may group thousands by the other mark."""

    decimal: DecimalMark = "."
    grouped: bool = True

    @property
    def is_plain(self) -> bool:
        """True if digits with at most one point are numbers as they stand."""
        return self.decimal == "."

    def read(self, text: str) -> str | None:
        """Return the number in digits with a point, or None if it is not one of this style."""
        if self.decimal == ",":
            found = _BY_COMMA.fullmatch(text)
        else:
            found = (_GROUPED if self.grouped else _UNGROUPED).fullmatch(text)
        if found is None or not (found["whole"] or found["part"]):
            return None
        whole = re.sub("[^0-9]", "", found["whole"]) or "0"
        digits = f"{whole}.{found['part']}" if found["part"] else whole
        if found["suffix"]:
            digits = format(Decimal(digits).scaleb(_FACTORS[found["suffix"].upper()]).normalize(), "f")
        return f"{found['sign'] or found['after']}{digits}".removeprefix("+")

    def hint(self, text: str) -> str:
        """Return what may help with a text that is no number of this style, with a blank before it, or nothing."""
        if self.decimal == "." and re.fullmatch(r"[0-9.' \u00a0\u202f]*,[0-9]+", text):
            return "; if the comma is the decimal mark, add --decimal ,"
        if self.decimal == "," and re.fullmatch(r"[0-9]+\.[0-9]+", text):
            return "; the decimal mark is the comma"
        return ""


POINT = NumberStyle()
