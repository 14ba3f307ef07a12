"""How many items to read at once: as many as fit into a fixed time at the pace measured so far."""


class BatchSizer:
    """The read count of one queue: `target_seconds / measured seconds per item`, between 1 and `largest`.

    The first read is small, since nothing is known of the items. The pace is an exponentially weighted mean, so
    that a worker adapts within a few batches when another job's items follow.
    """

    FIRST_COUNT = 8
    WEIGHT = 0.3

    def __init__(self, target_seconds: float, largest: int) -> None:
        self._target_seconds = target_seconds
        self._largest = largest
        self._seconds_per_item: float | None = None

    @property
    def count(self) -> int:
        """The number of items to read next."""
        if self._seconds_per_item is None:
            return min(self.FIRST_COUNT, self._largest)
        if self._seconds_per_item * self._largest <= self._target_seconds:
            return self._largest
        return max(1, int(self._target_seconds / self._seconds_per_item))

    def measured(self, items: int, seconds: float) -> None:
        """Note that `items` took `seconds` from read to finish."""
        pace = seconds / items
        if self._seconds_per_item is None:
            self._seconds_per_item = pace
        else:
            self._seconds_per_item += self.WEIGHT * (pace - self._seconds_per_item)

    def forget(self) -> None:
        """Begin small again: a read has failed, perhaps by the size of what it would have brought."""
        self._seconds_per_item = None
