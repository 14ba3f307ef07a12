"""Backfills: one run for each tick of a period that has no successful run, a few at once."""
