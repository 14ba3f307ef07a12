"""Alerts: the document that people write, and the pure function that decides when one fires."""
