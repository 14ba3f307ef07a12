"""Imports libraries without what they import of others only because it is installed."""

import sys
from collections.abc import Sequence
from importlib import import_module


def import_without(name: str, hidden: Sequence[str]) -> None:
    """Import `name`, unless that has happened, while the modules `hidden` cannot be imported.

    A program that has imported one of them itself keeps it.
    """
    absent = () if name in sys.modules else [module for module in hidden if module not in sys.modules]
    for module in absent:
        sys.modules[module] = None  # type: ignore[assignment]
    try:
        import_module(name)
    finally:
        for module in absent:
            del sys.modules[module]
