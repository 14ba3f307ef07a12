"""All operations of the HTTP API."""

from streamworkers.api.routes.runs import RUN_OPERATIONS

OPERATIONS = (*RUN_OPERATIONS,)
