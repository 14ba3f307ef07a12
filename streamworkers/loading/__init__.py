"""Loading bars from providers: planning, fetching, provenance, checkpoints, storing, coverage."""
