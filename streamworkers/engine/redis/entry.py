"""The stream entry that carries an item."""

import re
from typing import Any, NamedTuple

import msgpack

from streamworkers.engine.outcome import Item
from streamworkers.errors import BadInputError

# A version only ever appends fields, so that scripts of an older release can requeue entries of a newer one.
ENTRY_VERSION = 2
_FIELDS_OF_VERSION = {1: 10, 2: 12}
_FIELDS = (
    ("version", int),
    ("run_id", int),
    ("seq", int),
    ("job", str),
    ("symbol", str),
    ("timeframe", str),
    ("enqueued_ms", int),
    ("attempt", int),
    ("isolated", bool),
    ("reason", str),
    ("left_ms", int),
    ("generation", int),
)
_FIELD_TYPES = {version: tuple(kind for _, kind in _FIELDS[:count]) for version, count in _FIELDS_OF_VERSION.items()}
MAX_REASON_CHARACTERS = 300
MAX_ATTEMPT = 10_000
# What cut_entry.lua leaves of one that nobody should have to read: its size, and how it begins.
_CUT = re.compile(rb"\xc1(\d{1,15})\n")


class NewerEntryError(BadInputError):
    """The entry is of a newer release, whose workers can read it."""


class Entry(NamedTuple):
    """An item on its way through a queue. `entry_id` is where it is in the stream; the other fields are packed.

    `attempt` counts from 1. An `isolated` item runs in a call of its own, because an earlier call with it in its batch
    did not return; `reason` says how that call ended, and `left_ms` when its worker was last known to hold the entry,
    in Unix milliseconds (0: it was never requeued). `generation` is how often the item had been reopened when the
    entry was added; an entry of an earlier generation is dropped.
    The order of the packed fields is known to `lua/`, which requeues entries.
    """

    # Named tuples, here and wherever there is one for each item: a frozen dataclass takes five times as long to make.
    run_id: int
    seq: int
    job: str
    symbol: str
    timeframe: str
    enqueued_ms: int
    attempt: int = 1
    isolated: bool = False
    reason: str = ""
    left_ms: int = 0
    generation: int = 0
    entry_id: str = ""

    @property
    def item(self) -> Item:
        """The item as its handler sees it."""
        return Item(self.run_id, self.seq, self.symbol, self.timeframe or None, self.attempt)

    def pack(self) -> bytes:
        """Return the entry as msgpack."""
        fields = (
            ENTRY_VERSION,
            self.run_id,
            self.seq,
            self.job,
            self.symbol,
            self.timeframe,
            self.enqueued_ms,
            self.attempt,
            self.isolated,
            self.reason[:MAX_REASON_CHARACTERS],
            self.left_ms,
            self.generation,
        )
        packed: bytes = msgpack.packb(fields)
        return packed


def split_entry_id(entry_id: str) -> tuple[int, int]:
    """Return an entry's id as numbers, by which Redis orders entries: Unix milliseconds, and a counter."""
    added_ms, _, number = entry_id.partition("-")
    return int(added_ms), int(number)


def unpack_entry(packed: bytes, max_bytes: int, entry_id: str = "") -> Entry:
    """Return the entry in a payload, of this version or an earlier one.

    Raises NewerEntryError for one of a later version, and BadInputError for anything else, naming the rule it breaks.
    """
    was_cut = _CUT.match(packed)
    size = int(was_cut[1]) if was_cut else len(packed)
    if was_cut or size > max_bytes:
        raise BadInputError(f"entry of {size} bytes exceeds STREAMWORKERS_ENTRY_MAX_BYTES={max_bytes}")
    try:
        fields: Any = msgpack.unpackb(packed, strict_map_key=True, use_list=False)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise BadInputError(f"entry is not msgpack: {type(error).__name__} in {packed[:40]!r}") from None
    version = fields[0] if isinstance(fields, tuple) and fields else None
    types = _FIELD_TYPES.get(version) if type(version) is int else None
    if types is None:
        if type(version) is int and version > ENTRY_VERSION:
            raise NewerEntryError(f"entry is of version {version}, this release reads up to {ENTRY_VERSION}")
        raise BadInputError(f"entry {packed[:40]!r} has no version from 1 to {ENTRY_VERSION}")
    if len(fields) != len(types):
        raise BadInputError(f"entry has {len(fields)} fields, version {version} has {len(types)}")
    if tuple(map(type, fields)) != types:
        for (name, kind), value in zip(_FIELDS, fields, strict=False):
            if type(value) is not kind:
                raise BadInputError(f"entry's {name} is {value!r}, not {kind.__name__}")
    values = fields[1:]
    entry = Entry._make((*values, entry_id)) if version == ENTRY_VERSION else Entry(*values)._replace(entry_id=entry_id)
    if not (1 <= entry.attempt <= MAX_ATTEMPT and 0 <= entry.seq < 2**31 and 0 < entry.run_id < 2**63):
        raise BadInputError(f"entry's run {entry.run_id}, seq {entry.seq} or attempt {entry.attempt} is out of range")
    return entry
