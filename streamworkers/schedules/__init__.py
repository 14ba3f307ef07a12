"""Schedules as data and rules: definitions, cron, sessions, planning. The scheduler starts the runs."""
