"""Providers of bars, one module each."""
