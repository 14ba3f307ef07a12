"""A whole monitored system: a pool, a scheduler, and a real Prometheus that scrapes them."""
