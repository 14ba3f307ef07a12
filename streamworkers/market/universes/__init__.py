"""Universes: named sets of symbols."""
