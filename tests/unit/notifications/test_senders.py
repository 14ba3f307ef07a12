"""Each type of notification is sent by something: the module that makes it names it."""

from pathlib import Path

import pytest

from streamworkers.notifications.notification_types import CODE_TYPE, NOTIFICATION_TYPES

ROOT = Path(__file__).parent.parent.parent.parent
# Firings and corrections have their type from what has happened to the alert: tests/integration/jobs and alerts.
OF_ALERTS = {name for name in NOTIFICATION_TYPES if name.startswith("alert_")}
SENDERS = {
    "message": "streamworkers/notifications/notify.py",
    "run_failed": "streamworkers/engine/ledger/notices.py",
    "run_late": "scheduler/schedule_notices.py",
    "run_too_long": "scheduler/schedule_notices.py",
    "deadline_missed": "scheduler/schedule_notices.py",
    "schedule_missed": "scheduler/schedule_notices.py",
    "message_rejected": "scheduler/message_notices.py",
    "data_gap": "scheduler/gap_notices.py",
    "endpoint_off": "streamworkers/notifications/delivery/calls.py",
    "watchdog": "scheduler/sign_of_life.py",
}


def test_each_type_has_a_sender() -> None:
    assert {*SENDERS, *OF_ALERTS, CODE_TYPE} == {*NOTIFICATION_TYPES}


@pytest.mark.parametrize(("kind", "module"), sorted(SENDERS.items()))
def test_the_sender_names_its_type(kind: str, module: str) -> None:
    assert f'"{kind}"' in (ROOT / module).read_text(encoding="utf-8")
