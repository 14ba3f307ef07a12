"""Indicators and patterns: pure functions over arrays of bars. No database, no clock, no network."""
