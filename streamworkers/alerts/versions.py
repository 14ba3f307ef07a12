"""Brings documents of alerts into the present version: older versions, and the flat form of the replaced system."""

from collections.abc import Callable, Mapping
from typing import Any

from streamworkers.rules.problem import RuleError, show_value
from streamworkers.rules.schema import require_document

CURRENT_VERSION = 1
ALERT_SCHEMA = ("streamworkers.alerts", "alert-v1.json")
_FLAT_SCHEMA = ("streamworkers.alerts", "alert-flat.json")

Document = Mapping[str, Any]
Upgrade = Callable[[Document], Document]

# From a version to the next one. A document is upgraded when it is written, never when it is read.
UPGRADES: Mapping[int, Upgrade] = {}

_RELATIVE_VOLUME = {"indicator": "relative_volume", "params": {"period": 20}}
_RSI = {"indicator": "rsi", "params": {"timeperiod": 14}}
_FLAT_CONDITIONS: Mapping[str, tuple[Document, str, float | None]] = {
    "price_above": ({"indicator": "price"}, ">", None),
    "price_below": ({"indicator": "price"}, "<", None),
    "volume_spike": (_RELATIVE_VOLUME, ">", 2),
    "rsi_oversold": (_RSI, "<", 30),
}


def is_flat(document: Document) -> bool:
    """True for the flat form: it has a condition, and neither rule nor version."""
    return "condition" in document and not {"rule", "schema_version"} & document.keys()


def upgrade_document(
    document: Document, upgrades: Mapping[int, Upgrade] = UPGRADES, current: int = CURRENT_VERSION
) -> Document:
    """The document in the present version; one without `schema_version` is of version 1.

    Raises RuleError for a version that this release does not know, and for a flat form that breaks its schema.
    """
    if is_flat(document):
        return {"schema_version": CURRENT_VERSION} | _from_flat(document)
    version = document.get("schema_version", 1)
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= current:
        known = "1" if current == 1 else f"1 to {current}"
        raise RuleError(("schema_version",), f"{show_value(version)} is not {known}, which this release reads")
    for step in range(version, current):
        document = {**upgrades[step](document), "schema_version": step + 1}
    return document


def _from_flat(document: Document) -> dict[str, Any]:
    require_document(document, *_FLAT_SCHEMA)
    field, operator, default = _FLAT_CONDITIONS[document["condition"]]
    threshold = document.get("threshold", default)
    if threshold is None:
        raise RuleError((), f"lacks 'threshold', which {document['condition']} needs")
    result: dict[str, Any] = {
        "ticker": document["symbol"],
        "rule": {**field, "operator": operator, "value": threshold},
    }
    result |= {name: document[name] for name in ("name", "timeframe") if name in document}
    if "notification_channels" in document:
        result["notify"] = {"channels": document["notification_channels"]}
    return result
