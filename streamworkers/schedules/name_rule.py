"""What the name of a schedule may be: one rule for commands, YAML, the API, `after`, and the table's constraint."""

SCHEDULE_NAME = r"^[a-z][a-z0-9_-]{0,63}$"
SCHEDULE_NAME_IN_WORDS = "1 to 64 small letters, digits, _ and -, a letter first"
