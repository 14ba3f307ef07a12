"""From a bar to the message at the door of the Bot API: every step between is the real one."""

import pytest
from psycopg_pool import ConnectionPool
from pydantic import SecretStr

from alert_stage import AlertStage
from consumer import Consumer
from scheduler.delivery_runs import DeliveryRuns
from scheduler.notification_inbox import NotificationInbox
from scheduler.notification_router import NotificationRouter
from streamworkers.actor import LOCAL
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.jobs.deliver import Deliver
from streamworkers.notifications.channels.registry import load_channels
from streamworkers.notifications.store.endpoints import add_endpoint
from streamworkers_fakes.telegram import DEFAULT_TOKEN, FakeBotApi, running_fake_bot_api


@pytest.fixture
def stage(connection: Connection, streams: Streams, registry: Registry, consumer: Consumer) -> AlertStage:
    return AlertStage(connection, streams, registry, consumer)


def test_a_firing_is_a_photo_with_its_text_and_buttons(
    stage: AlertStage,
    settings: Settings,
    pool: "ConnectionPool[Connection]",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with running_fake_bot_api(FakeBotApi(limits=None)) as server:
        own = {"telegram_url": server.url, "telegram_token": SecretStr(DEFAULT_TOKEN)}
        changed = settings.model_copy(update=own)
        monkeypatch.setattr("streamworkers.jobs.deliver.load_settings", lambda: changed)
        channels = load_channels(changed)
        add_endpoint(stage.connection, LOCAL, "telegram", channels["telegram"].check_address("4711", {}))
        alert = stage.add("price > 100", name="breakout", notify={"message_template": "{ticker} <{price:.2f}> & up"})
        stage.load((98.0, 99.0, 101.25))
        stage.run()
        # The bars are of the past; a firing that is no news any more would wait for a digest.
        stage.connection.execute("""UPDATE outbox SET payload = jsonb_set(payload, '{data,live}', 'true')
            WHERE channel = 'streamworkers:notify'""")
        NotificationInbox(pool, lambda: None).run_once()
        NotificationRouter(pool, changed).run_once()
        job = Deliver()
        jobs = Registry([job])
        DeliveryRuns(pool, stage.streams, jobs, channels, 20).run_once()
        Consumer(changed, jobs, stage.streams, stage.connection, "sender").work_until_empty("notify")
        for opened in channels.values():
            opened.close()
        assert job.sender is not None
        job.sender.close()
        (call,) = server.sent
    assert (call.method, call.chat, call.photo_bytes > 10_000) == ("sendPhoto", "4711", True)
    assert str(call.text).startswith(
        "Alert on AAA: breakout\n\nAAA <101.25> & up\nThe bar closed at 2025-09-04 16:00 EDT"
    )
    assert call.parameters["reply_markup"]["inline_keyboard"] == [
        [
            {"text": "Snooze 1 h", "callback_data": f"alert:snooze:{alert.id}:AAA"},
            {"text": "Mute", "callback_data": f"alert:mute:{alert.id}"},
            {"text": "Show", "callback_data": f"alert:show:{alert.id}"},
        ]
    ]
    states = stage.connection.execute("SELECT state, attempts, provider_id FROM deliveries").fetchall()
    assert states == [("sent", 0, str(call.message_id))]
