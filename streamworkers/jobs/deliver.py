"""The job `deliver`: sends deliveries, each of which is an item."""

import time
from collections.abc import Iterator, Sequence
from typing import ClassVar
from uuid import UUID

from streamworkers.config import load_settings
from streamworkers.engine.job import Context, Job, JobCounter, JobHistogram, JobParameters
from streamworkers.engine.outcome import Failed, Item, Outcome
from streamworkers.logger import get_logger
from streamworkers.notifications.delivery.item_end import end_item
from streamworkers.notifications.delivery.sender import Sender, open_sender
from streamworkers.notifications.drawing import can_draw
from streamworkers.notifications.pictures import draw_picture
from streamworkers.notifications.store.sending import read_delivery_rows

log = get_logger()
_MOST_SECONDS = 60.0  # of one batch; what is left then is executed with the next one


class Deliver(Job[JobParameters]):
    """Sends waiting deliveries through their channels.

    Its runs are made by schedulers (`scheduler/delivery_runs.py`). Each delivery is claimed, called and recorded on its
    own; nothing is left for `save`.
    """

    name: ClassVar[str] = "deliver"
    queue: ClassVar[str] = "notify"
    item_kind: ClassVar = "id"
    batch_size: ClassVar[int] = 25
    # Between batches nobody books slots, and a slot that nobody has booked when it comes is lost.
    target_batch_seconds: ClassVar[float | None] = 1.0
    timeout_seconds: ClassVar[float] = 300.0
    # A dead delivery fails its run: a notification of that would fail in the same way, without an end.
    notifies_failure: ClassVar[bool] = False
    counters: ClassVar[tuple[JobCounter, ...]] = (
        JobCounter("deliveries", "Deliveries, by their state after a call", ("channel", "outcome")),
        JobCounter("deliveries_ambiguous", "Calls of which nobody knows whether they took effect", ("channel",)),
    )
    histograms: ClassVar[tuple[JobHistogram, ...]] = (
        JobHistogram(
            "delivery_lateness_seconds",
            "Time from when a message was to go out, as it was decided or its digest ended, until it was sent",
            ("channel", "priority"),
            (0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 14_400, 86_400),
        ),
    )

    def __init__(self) -> None:
        self.sender: Sender | None = None  # made by the first call: a worker is forked from who loads the job

    def execute(self, items: Sequence[Item], context: Context[JobParameters]) -> Iterator[Outcome]:
        """Send what is due, and say of each item what its delivery's row says."""
        if self.sender is None:
            draw = draw_picture if can_draw() else None
            if draw is None:
                log.warning("no_pictures", reason="matplotlib is not there: pip install 'streamworkers[charts]'")
            self.sender = open_sender(load_settings(), context.inspector.client, draw)
        ids: dict[int, UUID] = {}
        for item in items:
            try:
                ids[item.seq] = UUID(item.key)
            except ValueError:
                yield Failed(item, f"{item.key!r} is not the id of a delivery", permanent=True)
        ends = time.monotonic() + _MOST_SECONDS
        waits = self.sender.send(
            context.connection,
            list(ids.values()),
            context.run_id,
            should_stop=lambda: time.monotonic() > ends or context.cancelled,
            counts=context,
        )
        rows = {row.id: row for row in read_delivery_rows(context.connection, list(ids.values()))}
        for item in items:
            if item.seq in ids:
                delivery = ids[item.seq]
                yield end_item(context.connection, item, rows.get(delivery), waits.get(delivery))
