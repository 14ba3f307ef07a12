"""Bars in CSV files, in and out."""
