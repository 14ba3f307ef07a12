"""Which items of some runs are in a queue, found by reading all of it, a bounded step at a time.

The delayed set is read first, then the stream from its beginning to its end, then the delayed set again, so an entry
that moves meanwhile is seen: a requeued or promoted entry goes to the end of the stream, which is still to be read, and
an entry delayed meanwhile is found in the second reading. An entry is missed if it was promoted from the delayed set
after the end of the stream was read and before the second reading. That costs a doubled entry, never a second effect.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgpack

from streamworkers.engine.ledger import Run, UnfinishedRun
from streamworkers.engine.redis.entry import NewerEntryError, unpack_entry
from streamworkers.engine.redis.inspector import SCAN_CHUNK
from streamworkers.engine.redis.streams import Streams
from streamworkers.errors import BadInputError

MOST_ITEMS_SCANNED = 10_000_000
MOST_OTHER_RUNS = 100_000
_START = "0-0"


class QueueScan:
    """A scan of a queue for the items of some runs. It keeps one byte for each of these items.

    `other_runs` counts the entries of other runs, `malformed` the entries that cannot be read. Both are approximate: an
    entry that moves while it is read may count twice.
    """

    def __init__(self, streams: Streams, queue: str, runs: Iterable[Run], entry_max_bytes: int) -> None:
        self.queue = queue
        self.other_runs: Counter[int] = Counter()
        self.malformed = 0
        self._inspector = streams.inspector
        self._entry_max_bytes = entry_max_bytes
        self._seen = {run.id: bytearray(run.item_count) for run in runs}
        self._readings = [self._read_delayed, self._read_stream, self._read_delayed]
        self._cursor = 0
        self._after_id = _START

    def step(self, chunks: int) -> bool:
        """Read up to so many chunks of entries; True if all has been read."""
        for _ in range(chunks):
            if not self._readings:
                break
            if self._readings[0]():
                self._readings.pop(0)
        return not self._readings

    def finish(self) -> None:
        """Read the rest of the queue."""
        while not self.step(1):
            pass

    def has_seen(self, run_id: int, seq: int) -> bool:
        """True if an entry of that item was seen."""
        return bool(self._seen[run_id][seq])

    def count_seen(self, run_id: int) -> int:
        """Return the number of items of a run that were seen."""
        return self._seen[run_id].count(1)

    def add_seen(self, earlier: "QueueScan") -> None:
        """Count what an earlier scan saw as seen, too: an item that both miss was not just moving."""
        for run_id, seen in earlier._seen.items():
            if run_id in self._seen:
                both = int.from_bytes(seen) | int.from_bytes(self._seen[run_id])
                self._seen[run_id] = bytearray(both.to_bytes(len(seen)))

    def _read_delayed(self) -> bool:
        self._cursor, entries = self._inspector.scan_delayed(self.queue, self._cursor)
        for packed in entries:
            self._note(packed)
        return self._cursor == 0

    def _read_stream(self) -> bool:
        entries = self._inspector.scan_stream(self.queue, self._after_id)
        for entry in entries:
            self._note(entry.packed)
        if entries:
            self._after_id = entries[-1].entry_id
        return len(entries) < SCAN_CHUNK

    def _note(self, packed: bytes) -> None:
        item = read_item(packed, self._entry_max_bytes)
        seen = self._seen.get(item[0]) if item else None
        if item and seen is not None and 0 <= item[1] < len(seen):
            seen[item[1]] = 1
        elif len(self._readings) == 1:
            return  # it was counted in the first reading of the delayed set, or in the stream
        elif item and seen is None and (item[0] in self.other_runs or len(self.other_runs) < MOST_OTHER_RUNS):
            self.other_runs[item[0]] += 1
        else:
            self.malformed += 1


def read_item(packed: bytes, entry_max_bytes: int) -> tuple[int, int] | None:
    """Return run id and seq of an entry, also of a newer release; None if it is malformed."""
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


def split_for_scans(runs: Sequence[UnfinishedRun]) -> Iterator[list[UnfinishedRun]]:
    """Yield runs in groups for one scan each: up to MOST_ITEMS_SCANNED items, and at least one run."""
    group: list[UnfinishedRun] = []
    items = 0
    for unfinished in runs:
        if group and items + unfinished.run.item_count > MOST_ITEMS_SCANNED:
            yield group
            group, items = [], 0
        group.append(unfinished)
        items += unfinished.run.item_count
    if group:
        yield group
