"""Receives the events of a chaos run, past the proxies, and records when it was disconnected."""

import json
import threading
import time
from collections import Counter

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from patience import patient
from streamworkers.engine.redis.keys import ERRORS_CHANNEL

CHANNEL = "chaos.effects"
_CHANNELS = (CHANNEL, ERRORS_CHANNEL)


class Listener(threading.Thread):
    """Counts events by `event_id`. Pub/Sub keeps nothing: an event published while Redis restarts is lost."""

    def __init__(self, url: str) -> None:
        super().__init__(name="listener", daemon=True)
        self.received: Counter[str] = Counter()
        self.disconnected: list[tuple[float, float]] = []
        self._client = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=patient(5.0))
        self._stop_requested = threading.Event()
        self._received_at = time.time()

    def stop(self) -> None:
        """End the thread."""
        self._stop_requested.set()
        self.join(patient(10))
        self._client.close()

    def run(self) -> None:
        """Subscribe, receive, and subscribe again after each lost connection."""
        while not self._stop_requested.is_set():
            try:
                self._listen()
            except redis.RedisError:
                self._stop_requested.wait(0.05)

    def _listen(self) -> None:
        with self._client.pubsub() as subscription:  # type: ignore[no-untyped-call]
            subscription.subscribe(*_CHANNELS)
            confirmed = False
            while not self._stop_requested.is_set():
                message = subscription.get_message(timeout=0.2)
                if message is not None and message["type"] == "subscribe":
                    if message["data"] < len(_CHANNELS):
                        continue
                    self.disconnected.append((self._received_at, time.time()))
                    confirmed = True
                elif message is not None and message["type"] == "message":
                    self.received[json.loads(message["data"])["event_id"]] += 1
                if confirmed:
                    self._received_at = time.time()
