"""Timeframes, exchange sessions, and the windows of bars."""
