"""The audit log: who changed what, by which way, and seals that show a later change of it."""
