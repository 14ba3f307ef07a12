"""What supervisor and scheduler share: identity, signals, loops, metrics and probes."""
