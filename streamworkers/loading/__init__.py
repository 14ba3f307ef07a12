"""Loading bars from providers: what to ask for, fetching, provenance, and storing."""

LOAD_JOB = "load_ohlcv"  # the job that loads bars
