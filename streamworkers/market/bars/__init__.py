"""Bars: one type, how they are read, checked and written."""
