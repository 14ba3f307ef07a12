"""The rule of the names of schedules, as models of pydantic take it; the table has the same as a constraint."""

from streamworkers.names import RULES

SCHEDULE_NAME = f"^{RULES['schedule'].pattern}$"
SCHEDULE_NAME_IN_WORDS = RULES["schedule"].text
