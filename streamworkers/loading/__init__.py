"""Loading bars from providers: planning, fetching, provenance, checkpoints, storing, coverage."""

LOAD_JOB = "load_ohlcv"  # the job that loads bars
