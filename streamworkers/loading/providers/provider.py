"""What a provider of bars is. One file, one class, found by its name; other packages add theirs by an entry point."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from importlib.metadata import entry_points
from typing import ClassVar, NamedTuple

from streamworkers.config import Settings
from streamworkers.errors import BadInputError, ItemError, PermanentError, UnknownNameError
from streamworkers.market.bars.bars import Bars
from streamworkers.market.bars.text_rows import Reject
from streamworkers.market.calendar.timeframes import Timeframe

ENTRY_POINT_GROUP = "streamworkers.providers"


class ProviderError(ItemError):
    """The provider could not give the bars; asking again may help."""


class AuthError(PermanentError):
    """The provider does not know the key."""


class PlanError(PermanentError):
    """The key's plan does not include what was asked for."""


class UnsupportedError(PermanentError):
    """The provider has no bars of that kind."""


class TransientError(ProviderError):
    """The provider is away, slow, or answered with a fault of its own."""


class BadPayloadError(ProviderError):
    """The answer breaks a rule: it is no JSON, cut off, of another symbol, out of order, of another count…"""


class OutOfCallsError(ProviderError):
    """No call is left, by our own count or by the provider's; `until` (aware) is when to ask again."""

    def __init__(self, detail: str, until: datetime) -> None:
        super().__init__(f"{detail}; to be asked again at {until.isoformat(timespec='seconds')}")
        self.until = until


class Split(NamedTuple):
    """From `executed_on` on, `parts_before` shares are `parts_after`."""

    symbol: str
    executed_on: date
    parts_before: float
    parts_after: float


@dataclass(frozen=True, slots=True)
class Asked:
    """Bars of a symbol whose windows touch the days from `first` to `last`, dates of New York."""

    symbol: str
    timeframe: Timeframe
    first: date
    last: date


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the answer, in order of time: good bars, rejected ones, and the cursor of the next part."""

    bars: Bars
    rejected: list[Reject] = field(default_factory=list)
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Calls:
    """The fleet's count of calls to a provider; each method is thread-safe.

    `reserve` gives a token, or raises OutOfCallsError; `finished` says that the call of a token is over, whatever
    became of it, and `counted` what became of it, in a word.
    """

    reserve: Callable[[], str]
    finished: Callable[[str], None]
    counted: Callable[[str], None]


def _no_token() -> str:
    return ""


def _ignored(_word: str) -> None:
    return None


UNCOUNTED = Calls(_no_token, _ignored, _ignored)


class Provider(ABC):
    """A source of bars. One instance serves the threads of one worker.

    `native` are the timeframes it has bars of; wider ones are made of those. `adjusted` says whether its prices are
    adjusted for splits (None: nobody knows). `hours_by_clock` says that its hourly bars are those of extended trading
    by the clock, so that others have to be made of its minutes. `calls_per_minute` is how many calls the fleet may
    make (0: any number).
    """

    name: ClassVar[str]
    native: ClassVar[frozenset[str]] = frozenset({"day"})
    adjusted: ClassVar[bool | None] = None
    hours_by_clock: ClassVar[bool] = False
    calls_per_minute: int = 0

    def __init__(self, settings: Settings, calls: Calls = UNCOUNTED) -> None:
        self.settings = settings
        self.calls = calls

    @abstractmethod
    def pages(self, asked: Asked, cursor: str | None = None) -> Iterator[Page]:
        """The bars, in parts; with the cursor of a page, those after it.

        Raises a subclass of ItemError from here, OutOfCallsError when it has to wait.
        """

    def splits(self, first: date, last: date) -> Iterable[Split] | None:
        """Splits of any symbol that were executed from `first` to `last`; None where the provider does not know."""
        del first, last
        return None

    def day_of_all(self, day: date) -> Mapping[str, Page] | None:
        """The day bar of every symbol that it has, in one call; None where the provider has no such call."""
        del day
        return None

    def close(self) -> None:
        """Let go of connections and files."""
        return


def installed_providers() -> dict[str, type[Provider]]:
    """The providers of every installed package, by name. Raises BadInputError naming the entry point that is wrong."""
    found: dict[str, type[Provider]] = {}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            loaded = point.load()
        except (ImportError, AttributeError) as error:
            raise BadInputError(f"provider {point.name!r} ({point.value}) does not load: {error}") from error
        if not (isinstance(loaded, type) and issubclass(loaded, Provider)):
            raise BadInputError(f"provider {point.name!r} ({point.value}) is no subclass of Provider")
        found[point.name] = loaded
    return found


def provider_named(name: str) -> type[Provider]:
    """The provider of that name. Raises UnknownNameError listing those there are."""
    providers = installed_providers()
    if name not in providers:
        raise UnknownNameError("provider", name, providers)
    return providers[name]
