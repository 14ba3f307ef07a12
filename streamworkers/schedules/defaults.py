"""The six default schedules, with times and limits from the settings."""

from streamworkers.config import Settings
from streamworkers.engine.redis.keys import DATA_LOAD_COMPLETE
from streamworkers.schedules.definition import ScheduleDefinition, Target

EXCHANGE_CALENDAR = "XNYS"


def default_schedules(settings: Settings) -> list[ScheduleDefinition]:
    """The definitions in an order in which they can be inserted: a schedule follows the one that it comes `after`."""
    universes = Target(universe=settings.job_universes)
    return [
        ScheduleDefinition(
            name="daily_indicator_calculation",
            job="indicators",
            target=universes,
            timeframe="day",
            cron=_daily_cron(settings.job_indicator_calc_time, "1-5"),
            calendar=EXCHANGE_CALENDAR,
        ),
        ScheduleDefinition(
            name="daily_pattern_detection",
            job="patterns",
            target=universes,
            timeframe="day",
            cron=_daily_cron(settings.job_pattern_detection_time, "1-5"),
            calendar=EXCHANGE_CALENDAR,
            after="daily_indicator_calculation",
            min_coverage=settings.job_min_coverage,
            after_timeout_seconds=3600,
        ),
        ScheduleDefinition(
            name="post_import_analysis",
            job="analysis",
            on_event=DATA_LOAD_COMPLETE,
            max_instances=1000,
        ),
        ScheduleDefinition(
            name="weekly_cache_maintenance",
            job="cache_maintenance",
            parameters={"min_etfs": settings.min_etfs, "min_universes": settings.min_universes},
            cron=_daily_cron(settings.job_maintenance_time, "0"),
        ),
        ScheduleDefinition(
            name="daily_database_cleanup",
            job="database_cleanup",
            parameters={
                "pattern_days": settings.pattern_retention_days,
                "indicator_days": settings.indicator_retention_days,
                "run_item_days": settings.run_item_retention_days,
                "run_event_days": settings.run_event_retention_days,
                "run_days": settings.run_retention_days,
                "health_days": settings.health_retention_days,
                "alert_days": settings.alert_retention_days,
                "notification_days": settings.notification_retention_days,
                "message_history_days": settings.message_history_retention_days,
                "message_days": settings.message_retention_days,
            },
            cron=_daily_cron(settings.job_cleanup_time, "*"),
        ),
        ScheduleDefinition(
            name="hourly_health_monitoring",
            job="health_check",
            cron="@hourly",
            catch_up="skip",
        ),
    ]


def _daily_cron(clock: str, days: str) -> str:
    hour, _, minute = clock.partition(":")
    return f"{int(minute)} {int(hour)} * * {days}"
