"""An item as its handler sees it, and the stream entry that carries it.

Named tuples, here and where else there is one for each item: a frozen dataclass takes five times as long to make.
"""

from typing import Any, NamedTuple

import msgpack

from streamworkers.errors import BadInputError

ENTRY_VERSION = 1
_FIELD_TYPES = (int, int, int, str, str, str, int, int, bool, str)
_FIELD_NAMES = ["version", "run_id", "seq", "job", "symbol", "timeframe", "enqueued_ms", "attempt", "alone", "reason"]
MAX_REASON_CHARACTERS = 300
MAX_ATTEMPT = 10_000


class Item(NamedTuple):
    """One unit of work: a symbol, or a symbol in a timeframe, of a run."""

    run_id: int
    seq: int
    symbol: str
    timeframe: str | None
    attempt: int


class Entry(NamedTuple):
    """What a stream entry says of an item.

    `attempt` is the number of the attempt that this delivery is, from 1. `alone` asks that the item runs in a call
    of its own, because an earlier call with it in its batch did not come back; `reason` says how that one ended.
    The order of the packed fields is known to `lua/`, which moves entries from one worker to the next.
    """

    run_id: int
    seq: int
    job: str
    symbol: str
    timeframe: str
    enqueued_ms: int
    attempt: int = 1
    alone: bool = False
    reason: str = ""

    def pack(self) -> bytes:
        """The entry as msgpack."""
        fields = (
            ENTRY_VERSION,
            self.run_id,
            self.seq,
            self.job,
            self.symbol,
            self.timeframe,
            self.enqueued_ms,
            self.attempt,
            self.alone,
            self.reason[:MAX_REASON_CHARACTERS],
        )
        packed: bytes = msgpack.packb(fields)
        return packed


def unpack_entry(packed: bytes, max_bytes: int) -> Entry:
    """The entry in a payload. Raises BadInputError for anything that is not one, naming the rule it breaks."""
    if len(packed) > max_bytes:
        raise BadInputError(f"entry of {len(packed)} bytes is over the limit of {max_bytes}")
    try:
        fields: Any = msgpack.unpackb(packed, strict_map_key=True, use_list=False)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise BadInputError(f"entry is not msgpack: {type(error).__name__} in {packed[:40]!r}") from None
    if not isinstance(fields, tuple) or not fields or fields[0] != ENTRY_VERSION:
        raise BadInputError(f"entry {packed[:40]!r} is not of version {ENTRY_VERSION}")
    if len(fields) != len(_FIELD_TYPES):
        raise BadInputError(f"entry has {len(fields)} fields, version {ENTRY_VERSION} has {len(_FIELD_TYPES)}")
    if tuple(map(type, fields)) != _FIELD_TYPES:
        for name, value, kind in zip(_FIELD_NAMES, fields, _FIELD_TYPES, strict=True):
            if type(value) is not kind:
                raise BadInputError(f"entry's {name} is {value!r}, not {kind.__name__}")
    entry = Entry(*fields[1:])
    if not (1 <= entry.attempt <= MAX_ATTEMPT and 0 <= entry.seq < 2**31 and 0 < entry.run_id < 2**63):
        raise BadInputError(f"entry's run {entry.run_id}, seq {entry.seq} or attempt {entry.attempt} is out of range")
    return entry
