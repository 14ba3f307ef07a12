"""The pool: queues, leases, attempts, runs. It knows nothing of markets."""
