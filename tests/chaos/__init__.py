"""The chaos run: a seeded schedule of faults against a real pool, and the count of what was lost or doubled."""
