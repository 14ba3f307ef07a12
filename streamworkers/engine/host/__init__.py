"""What supervisor and scheduler share: signals, threads, metrics and probes."""
