"""A model of an item's life: every part of the pool in one process, a step at a time, in any order, dying anywhere."""
