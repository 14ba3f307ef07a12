"""All operations of the HTTP API."""

from streamworkers.api.routes.health import HEALTH_OPERATIONS
from streamworkers.api.routes.market import MARKET_OPERATIONS
from streamworkers.api.routes.notify import NOTIFY_OPERATIONS
from streamworkers.api.routes.old_jobs import OLD_JOB_OPERATIONS
from streamworkers.api.routes.people import PEOPLE_OPERATIONS
from streamworkers.api.routes.pool import POOL_OPERATIONS
from streamworkers.api.routes.runs import RUN_OPERATIONS
from streamworkers.api.routes.schedules import SCHEDULE_OPERATIONS

OPERATIONS = (
    *RUN_OPERATIONS,
    *OLD_JOB_OPERATIONS,
    *SCHEDULE_OPERATIONS,
    *PEOPLE_OPERATIONS,
    *NOTIFY_OPERATIONS,
    *MARKET_OPERATIONS,
    *POOL_OPERATIONS,
    *HEALTH_OPERATIONS,
)
