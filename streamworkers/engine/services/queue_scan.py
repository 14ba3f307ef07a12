"""What Redis holds of some runs of a queue, found by reading all of it, a bounded step at a time.

The delayed set is read first, then the stream from its beginning to its end, then the delayed set again. So an entry
that moves meanwhile is seen: one that is put back or promoted goes to the end of the stream, where the reading still
comes by, and one that goes from the stream into the delayed set is met there. What left the delayed set again before
its second reading, and after the stream's, is missed. That costs a doubled entry and never a second effect.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgpack

from streamworkers.engine.ledger.runs import Run, Unfinished
from streamworkers.engine.redis.entry import NewerEntryError, unpack_entry
from streamworkers.engine.redis.inspector import SCAN_CHUNK
from streamworkers.engine.redis.streams import Streams
from streamworkers.errors import BadInputError

MOST_ITEMS_SCANNED = 10_000_000
MOST_OTHER_RUNS = 100_000
_START = "0-0"


class QueueScan:
    """Which items of the runs asked for are in a queue. It keeps one byte for each item of these, whatever is there.

    `other_runs` counts the entries of runs that were not asked for, `foreign` what is no entry of ours. Both are about
    right: an entry that moves while it is read may count twice.
    """

    def __init__(self, streams: Streams, queue: str, runs: Iterable[Run], entry_max_bytes: int) -> None:
        self.queue = queue
        self.other_runs: Counter[int] = Counter()
        self.foreign = 0
        self._streams = streams
        self._entry_max_bytes = entry_max_bytes
        self._held = {run.id: bytearray(run.item_count) for run in runs}
        self._readings = [self._read_delayed, self._read_stream, self._read_delayed]
        self._cursor = 0
        self._after_id = _START

    def step(self, chunks: int) -> bool:
        """Read up to so many chunks of entries; True when all has been read."""
        for _ in range(chunks):
            if not self._readings:
                break
            if self._readings[0]():
                self._readings.pop(0)
        return not self._readings

    def finish(self) -> None:
        """Read what is left to read."""
        while not self.step(1):
            pass

    def holds(self, run_id: int, seq: int) -> bool:
        """True when an entry of that item was seen."""
        return bool(self._held[run_id][seq])

    def held_count(self, run_id: int) -> int:
        """The number of items of a run that were seen."""
        return self._held[run_id].count(1)

    def add_seen(self, earlier: "QueueScan") -> None:
        """Take what an earlier scan saw as seen, too: what both miss is not just on its way."""
        for run_id, held in earlier._held.items():
            if run_id in self._held:
                both = int.from_bytes(held) | int.from_bytes(self._held[run_id])
                self._held[run_id] = bytearray(both.to_bytes(len(held)))

    def _read_delayed(self) -> bool:
        self._cursor, entries = self._streams.inspector.scan_delayed(self.queue, self._cursor)
        for packed in entries:
            self._note(packed)
        return self._cursor == 0

    def _read_stream(self) -> bool:
        entries = self._streams.inspector.scan_stream(self.queue, self._after_id)
        for entry in entries:
            self._note(entry.packed)
        if entries:
            self._after_id = entries[-1].entry_id
        return len(entries) < SCAN_CHUNK

    def _note(self, packed: bytes) -> None:
        item = item_of(packed, self._entry_max_bytes)
        held = self._held.get(item[0]) if item else None
        if item and held is not None and 0 <= item[1] < len(held):
            held[item[1]] = 1
        elif len(self._readings) == 1:
            return  # it was counted in the first reading of the delayed set, or in the stream
        elif item and held is None and (item[0] in self.other_runs or len(self.other_runs) < MOST_OTHER_RUNS):
            self.other_runs[item[0]] += 1
        else:
            self.foreign += 1


def item_of(packed: bytes, entry_max_bytes: int) -> tuple[int, int] | None:
    """Run id and seq of an entry, one of a newer release too; None for what is no entry of ours."""
    try:
        entry = unpack_entry(packed, entry_max_bytes)
    except NewerEntryError:
        # A version only ever appends fields.
        fields = msgpack.unpackb(packed)
        whole = len(fields) > 2 and type(fields[1]) is int and type(fields[2]) is int
        return (fields[1], fields[2]) if whole else None
    except BadInputError:
        return None
    return entry.run_id, entry.seq


def portions(runs: Sequence[Unfinished]) -> Iterator[list[Unfinished]]:
    """Runs in groups that one scan may be asked for: up to MOST_ITEMS_SCANNED items each, and at least one run."""
    group: list[Unfinished] = []
    items = 0
    for unfinished in runs:
        if group and items + unfinished.run.item_count > MOST_ITEMS_SCANNED:
            yield group
            group, items = [], 0
        group.append(unfinished)
        items += unfinished.run.item_count
    if group:
        yield group
