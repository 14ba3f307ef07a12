"""All operations of the HTTP API."""

from streamworkers.api.routes.admin import ADMIN_OPERATIONS
from streamworkers.api.routes.alert_actions import ALERT_ACTION_OPERATIONS
from streamworkers.api.routes.alerts import ALERT_OPERATIONS
from streamworkers.api.routes.closed_items import CLOSED_ITEM_OPERATIONS
from streamworkers.api.routes.endpoints import ENDPOINT_OPERATIONS
from streamworkers.api.routes.events import EVENT_OPERATIONS
from streamworkers.api.routes.health import HEALTH_OPERATIONS
from streamworkers.api.routes.items import ITEM_OPERATIONS
from streamworkers.api.routes.market import MARKET_OPERATIONS
from streamworkers.api.routes.notifications import NOTIFICATION_OPERATIONS
from streamworkers.api.routes.notify import NOTIFY_OPERATIONS
from streamworkers.api.routes.old_jobs import OLD_JOB_OPERATIONS
from streamworkers.api.routes.pool import POOL_OPERATIONS
from streamworkers.api.routes.preferences import PREFERENCE_OPERATIONS
from streamworkers.api.routes.queues import QUEUE_OPERATIONS
from streamworkers.api.routes.run_lists import RUN_LIST_OPERATIONS
from streamworkers.api.routes.runs import RUN_OPERATIONS
from streamworkers.api.routes.schedule_times import SCHEDULE_TIME_OPERATIONS
from streamworkers.api.routes.schedules import SCHEDULE_OPERATIONS
from streamworkers.api.routes.tokens import TOKEN_OPERATIONS
from streamworkers.api.routes.workers import WORKER_OPERATIONS

OPERATIONS = (
    *RUN_OPERATIONS,
    *RUN_LIST_OPERATIONS,
    *ITEM_OPERATIONS,
    *CLOSED_ITEM_OPERATIONS,
    *EVENT_OPERATIONS,
    *OLD_JOB_OPERATIONS,
    *SCHEDULE_OPERATIONS,
    *SCHEDULE_TIME_OPERATIONS,
    *ALERT_OPERATIONS,
    *ALERT_ACTION_OPERATIONS,
    *NOTIFICATION_OPERATIONS,
    *NOTIFY_OPERATIONS,
    *ENDPOINT_OPERATIONS,
    *PREFERENCE_OPERATIONS,
    *MARKET_OPERATIONS,
    *POOL_OPERATIONS,
    *QUEUE_OPERATIONS,
    *WORKER_OPERATIONS,
    *TOKEN_OPERATIONS,
    *ADMIN_OPERATIONS,
    *HEALTH_OPERATIONS,
)
