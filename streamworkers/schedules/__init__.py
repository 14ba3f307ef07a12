"""Schedules as data and rules: definitions, cron, sessions, planning. Starting runs is the scheduler's."""
