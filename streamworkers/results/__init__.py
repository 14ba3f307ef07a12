"""The results of the analysis and the definitions that they are computed from, in PostgreSQL."""
