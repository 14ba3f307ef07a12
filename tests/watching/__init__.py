"""A whole system that is watched: a pool, a scheduler, and a real Prometheus that scrapes them."""
