"""The runbook as a board: the sections of docs/guides/operations.md on alerts, for alerts and boards to link to."""

import re
from pathlib import Path

from grafana.dashboard import Board
from grafana.layout import Section
from grafana.panels import Panel, Size, text

UID = "streamworkers-runbook"
GUIDE = Path(__file__).parent.parent / "docs" / "guides" / "operations.md"
# Each alert's section: its number, which links hold and which therefore stays, and its heading in the guide.
SECTIONS = {
    "StreamworkersNoWorker": (1, "No worker"),
    "StreamworkersNoScheduler": (2, "No scheduler"),
    "StreamworkersProcessSilent": (3, "Process silent"),
    "StreamworkersTargetDown": (4, "Target down"),
    "StreamworkersWorkersKilled": (5, "Workers killed"),
    "StreamworkersBacklogGrowing": (6, "Backlog growing"),
    "StreamworkersQueuePaused": (45, "Queue paused"),
    "StreamworkersOldestItemTooOld": (7, "Oldest item too old"),
    "StreamworkersFailureRatio": (8, "Failure ratio"),
    "StreamworkersItemsUndecided": (9, "Items undecided"),
    "StreamworkersNewDeadItems": (10, "New dead items"),
    "StreamworkersReclaimsHigh": (11, "Reclaims high"),
    "StreamworkersNightlyIncomplete": (12, "Nightly incomplete"),
    "StreamworkersTickMissedOrRejected": (13, "Tick missed or rejected"),
    "StreamworkersMessagesRejected": (44, "Messages rejected"),
    "StreamworkersScheduleOverdue": (14, "Schedule overdue"),
    "StreamworkersDeadlineMissed": (41, "Deadline missed"),
    "StreamworkersTicksUnaccounted": (43, "Ticks unaccounted"),
    "StreamworkersRunTooLong": (42, "Run too long"),
    "StreamworkersCalendarEnds": (15, "Calendar ends"),
    "StreamworkersRunStale": (26, "Run stale"),
    "StreamworkersDataStale": (16, "Data stale"),
    "StreamworkersProviderAway": (25, "Provider away"),
    "StreamworkersAlertsBehind": (27, "Alerts behind"),
    "StreamworkersAlertsUnknown": (28, "Alerts unknown"),
    "StreamworkersAlertsBlind": (29, "Alerts blind"),
    "StreamworkersOutboxStuck": (17, "Outbox stuck"),
    "StreamworkersNotifyUnread": (30, "Notify unread"),
    "StreamworkersDeliveriesLate": (31, "Deliveries late"),
    "StreamworkersNotificationsLate": (32, "Notifications late"),
    "StreamworkersDeliveriesDead": (33, "Deliveries dead"),
    "StreamworkersDeliveriesAmbiguous": (34, "Deliveries ambiguous"),
    "StreamworkersBotDown": (35, "Bot down"),
    "StreamworkersApiDown": (37, "API down"),
    "StreamworkersApiErrors": (38, "API errors"),
    "StreamworkersApiSlow": (39, "API slow"),
    "StreamworkersAuditUnsealed": (40, "Audit unsealed"),
    "StreamworkersPostgresAway": (18, "PostgreSQL away"),
    "StreamworkersRedisAway": (19, "Redis away"),
    "StreamworkersStoreFault": (20, "Store fault"),
    "StreamworkersLoopFailing": (36, "Loop failing"),
    "StreamworkersWorkersHold": (21, "Workers hold"),
    "StreamworkersPoolExhausted": (22, "Pool exhausted"),
    "StreamworkersPostgresConnections": (23, "PostgreSQL connections"),
    "StreamworkersRedisMemory": (24, "Redis memory"),
}
_HEADING = 1000


def board() -> Board:
    """The board; a section is shown alone with `viewPanel=NUMBER`."""
    written = _written()
    panels = [_panel(number, title, written[title]) for number, title in SECTIONS.values()]
    return Board(
        uid=UID,
        title="Runbook",
        description="What does an alert mean, and what is to be done? docs/guides/operations.md has the same text.",
        sections=[Section(_HEADING, "What to do when an alert fires", panels)],
        annotated=(),
        refresh="",
    )


def _panel(number: int, title: str, content: str) -> Panel:
    lines = sum(1 + len(line) // 90 for line in content.splitlines())
    return text(number, f"{number}. {title}", content, Size(12, max(6, 2 + round(lines * 0.62))))


def _written() -> dict[str, str]:
    """The sections of the guide by heading; links within the repository, which lead nowhere here, become words."""
    parts = re.split(r"^### (.+)$", GUIDE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    sections = zip(parts[1::2], parts[2::2], strict=True)
    return {
        title: re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]*\)", r"\1", body.split("\n## ")[0]).strip()
        for title, body in sections
    }
