"""Decides the bars of a series for all alerts about it: read once, decided under the lock, written in one piece."""
