"""The process that starts worker processes, renews their leases and replaces those that end."""
