"""Stored alerts for those who compute their rules: with the functions of `analysis`, and so with NumPy and TA-Lib."""

from typing import Any

from streamworkers.alerts.document import Alert, build_alert
from streamworkers.rules.market_vocabulary import MarketVocabulary

_VOCABULARY = MarketVocabulary()  # documents are stored in their canonical form, which names functions only


def parse_computable(document: dict[str, Any]) -> Alert:
    """The alert of a stored document, which knows how many bars its rule needs."""
    return build_alert(document, _VOCABULARY)
