"""The interface of a provider of bars: one class, found by its name; other packages add theirs by an entry point."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import ClassVar, NamedTuple

from streamworkers.config import Settings
from streamworkers.errors import BadInputError, ItemError, PermanentError, StopRunError, UnknownNameError
from streamworkers.installed import entry_points
from streamworkers.market.bars.bars import Bars
from streamworkers.market.bars.text_rows import Reject
from streamworkers.market.calendar.timeframes import Timeframe

ENTRY_POINT_GROUP = "streamworkers.providers"


class ProviderError(ItemError):
    """The provider could not deliver the bars; trying again may help.

    `may_be_away` is true if it failed as it does for every caller while the provider is away.
    """

    may_be_away = False


class AuthError(StopRunError):
    """The provider rejected the key."""


class ProxyError(StopRunError):
    """The proxy before the provider rejects every call, and does so until somebody changes the configuration."""


class SourceError(StopRunError):
    """What the provider reads for every item is missing or broken, and stays so until somebody mends it."""


class PlanError(PermanentError):
    """The key's plan does not include the request."""


class TooOldError(PermanentError):
    """The key's plan does not reach so far back."""


class NotYetError(ProviderError):
    """The key's plan includes these bars later: they are too new."""


class UnsupportedError(PermanentError):
    """The provider has no such bars."""


class TransientError(ProviderError):
    """The provider is unreachable, slow, or answered with an error of its own."""

    may_be_away = True


class BadPayloadError(ProviderError):
    """The answer breaks a rule: it is not JSON, cut off, of another symbol, out of order, of another count, …"""


class UnlikeAnswersError(BadPayloadError):
    """Two answers to one question differ, so neither is kept."""


class NoDataError(BadPayloadError):
    """The answer is no data at all, such as a page of HTML: what a provider sends while it is being maintained."""

    may_be_away = True


class RateLimitedError(ProviderError):
    """The rate limit of the fleet or of the provider allows no call before `until` (aware).

    `is_held` is false if very many wait, and no call is held for this one then. `beside` are the shares of others that
    wait too.
    """

    def __init__(self, detail: str, until: datetime, is_held: bool = True, beside: Sequence[str] = ()) -> None:
        super().__init__(f"{detail}; next call at {until.isoformat(timespec='seconds')}")
        self.until = until
        self.is_held = is_held
        self.beside = tuple(beside)


class BarOrigin(StrEnum):
    """Where bars come from: bars of a lower rank never replace those of a higher one."""

    INVENTED = "invented"
    SAMPLE = "sample"  # real bars of long ago, for demonstrations
    REAL = "real"

    @property
    def rank(self) -> int:
        """The place in the order, the best last."""
        return list(BarOrigin).index(self)


class Split(NamedTuple):
    """A split: on `executed_on`, `parts_before` shares become `parts_after`."""

    symbol: str
    executed_on: date
    parts_before: float
    parts_after: float


class Listing(NamedTuple):
    """The first and the last day on which a symbol is listed; None if it is not known, or listed still."""

    symbol: str
    listed_from: date | None
    delisted_after: date | None


@dataclass(frozen=True, slots=True)
class BarsRequest:
    """A request for the bars of a symbol whose windows touch the days from `first` to `last`, dates of New York."""

    symbol: str
    timeframe: Timeframe
    first: date
    last: date


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the answer, in order of time: valid bars, rejected ones, and the cursor of the next page."""

    bars: Bars
    rejected: list[Reject] = field(default_factory=list)
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Calls:
    """The fleet's count of calls to a provider; each function is thread-safe.

    `reserve` returns a token or raises RateLimitedError. After each call, whatever its result, `finish` takes the
    token and `count` one word for the answer, such as its HTTP status.
    """

    reserve: Callable[[], str]
    finish: Callable[[str], None]
    count: Callable[[str], None]


def _no_token() -> str:
    return ""


def _ignore(_word: str) -> None:
    return None


UNCOUNTED = Calls(_no_token, _ignore, _ignore)


class Provider(ABC):
    """A source of bars. One instance serves the threads of one worker.

    `native` are the timeframes it has bars of; wider ones are made of those. `adjusted` is true if its prices are
    adjusted for splits (None: unknown). `hours_by_clock` is true if its hourly bars are those of extended trading by
    the clock, so that other hours have to be made of its minutes. `origin` says whether its bars are real.
    `calls_per_minute` is the rate limit of the fleet
    (0: none).
    """

    name: ClassVar[str]
    native: ClassVar[frozenset[str]] = frozenset({"day"})
    adjusted: ClassVar[bool | None] = None
    hours_by_clock: ClassVar[bool] = False
    calls_per_minute: int = 0
    origin: BarOrigin = BarOrigin.REAL

    def __init__(self, settings: Settings, calls: Calls = UNCOUNTED) -> None:
        self.settings = settings
        self.calls = calls

    @classmethod
    def find_missing_setting(cls, settings: Settings) -> str | None:
        """Return a sentence about a setting that the provider cannot work without and that is not set here."""
        del settings
        return None

    @abstractmethod
    def pages(self, request: BarsRequest, cursor: str | None = None) -> Iterator[Page]:
        """Yield the bars in pages; with the cursor of a page, the pages after it.

        Raises one of the errors of this module, RateLimitedError if it has to wait.
        """

    def splits(self, first: date, last: date) -> Iterable[Split] | None:
        """Return the splits of all symbols executed from `first` to `last`, None if the provider has no list."""
        del first, last
        return None

    def day_of_all(self, day: date) -> Mapping[str, Page] | None:
        """Return the day bar of every symbol by one call, None if the provider has no such call."""
        del day
        return None

    def listing(self, symbol: str, first: date | None) -> Listing | None:
        """Return since when and until when a symbol is listed, None if the provider has no such call.

        `first` is the day of its first bar, as far as it is known.
        """
        del symbol, first
        return None

    def probe(self) -> bool:
        """Make a small call to find out whether the provider is there; False if it has no call for this.

        Raises what `pages` raises.
        """
        return False

    def now(self) -> datetime:
        """Return the time by the provider's clock, which decides what its plans include."""
        return datetime.now(UTC)

    def close(self) -> None:
        """Close the connections and files of the provider."""
        return


def find_providers() -> dict[str, type[Provider]]:
    """Return the providers of all installed packages, by name. Raises BadInputError for a broken entry point."""
    found: dict[str, type[Provider]] = {}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            loaded = point.load()
        except (ImportError, AttributeError) as error:
            raise BadInputError(f"provider {point.name!r} ({point.value}) does not load: {error}") from error
        if not (isinstance(loaded, type) and issubclass(loaded, Provider)):
            raise BadInputError(f"provider {point.name!r} ({point.value}) is not a subclass of Provider")
        found[point.name] = loaded
    return found


def get_provider(name: str) -> type[Provider]:
    """Return the provider of that name. Raises UnknownNameError."""
    providers = find_providers()
    if name not in providers:
        raise UnknownNameError("provider", name, providers)
    return providers[name]
