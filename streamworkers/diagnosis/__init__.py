"""What is wrong, seen once: the checks behind `doctor`, `status`, the health job, readiness and the alerts."""
