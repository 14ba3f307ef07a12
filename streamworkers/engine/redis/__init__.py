"""Redis as the pool uses it: connections, keys, entries, queues, leases, heartbeats, the inbox of others."""
