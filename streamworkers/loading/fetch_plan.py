"""Plans the requests to a provider. Wants of a symbol that can be made of the same bars share a `Fetch`.

Hours are made of minutes, weeks and months of days.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta

from streamworkers.loading.load_rules import LoadRules, Span
from streamworkers.loading.plan import Want
from streamworkers.loading.providers.provider import BarsRequest, Provider, UnsupportedError
from streamworkers.market.calendar.timeframes import TIMEFRAMES, Timeframe
from streamworkers.market.calendar.windows import narrower, whole_windows


@dataclass(frozen=True, slots=True)
class Fetch:
    """One request to a provider, and the wants that its bars serve.

    `begin` is the first day of the plan's history where that is later than the first day of the request.
    """

    request: BarsRequest
    wants: tuple[Want, ...]
    begin: date | None = None

    @property
    def key(self) -> str:
        """Identify the request in a run's checkpoints."""
        request = self.request
        return f"{request.symbol}:{request.timeframe.name}:{request.first}:{request.last}"

    @property
    def asked(self) -> BarsRequest:
        """The request as far as the plan's history reaches."""
        return self.request if self.begin is None else replace(self.request, first=self.begin)

    def clip(self, begin: date) -> "Fetch":
        """Return the fetch within a history that begins at a day."""
        return replace(self, begin=begin) if begin > self.request.first else self

    def span_of(self, want: Want) -> Span:
        """Return the days of a want of which the history has whole windows; it may end before it begins."""
        first = whole_windows(want.timeframe, want.span.first, want.span.first)[0]
        if self.begin is None or self.begin <= first:
            return want.span
        first, last = whole_windows(want.timeframe, self.begin, self.begin)
        return Span(first if first == self.begin else last + timedelta(days=1), want.span.last)


def plan_fetches(wants: Iterable[Want], provider: type[Provider] | Provider, rules: LoadRules) -> list[Fetch]:
    """Return the requests that serve all wants, one for several wants of a symbol where possible.

    Raises UnsupportedError for a timeframe of which the provider has neither bars nor narrower ones.
    """
    wants = list(wants)
    beside: dict[str, set[str]] = {}
    for want in wants:
        beside.setdefault(want.symbol, set()).add(want.timeframe.name)
    groups: dict[tuple[str, str], list[Want]] = {}
    for want in wants:
        source = choose_source_timeframe(want.timeframe, provider, rules, beside[want.symbol])
        groups.setdefault((want.symbol, source.name), []).append(want)
    result = []
    for (symbol, name), members in groups.items():
        spans = [whole_windows(want.timeframe, want.span.first, want.span.last) for want in members]
        first, last = min(span[0] for span in spans), max(span[1] for span in spans)
        request = BarsRequest(symbol, TIMEFRAMES[name], first, min(last, max(rules.today, first)))
        result.append(Fetch(request, tuple(members)))
    return result


def choose_source_timeframe(
    timeframe: Timeframe, provider: type[Provider] | Provider, rules: LoadRules, beside: Iterable[str] = ()
) -> Timeframe:
    """Return the timeframe to request: the narrower one if it is requested anyway (`beside`), or if it has to be.

    If a provider's hours are those of extended trading by the clock, other hours can only be made of its minutes.
    Raises UnsupportedError if the provider has neither.
    """
    narrow = narrower(timeframe)
    if narrow is not None and narrow.name in provider.native:
        as_given = (rules.hours, rules.hour_anchor) == ("extended", "clock")
        must = timeframe.name == "hour" and provider.hours_by_clock and not as_given
        if must or timeframe.name not in provider.native or (rules.derive and narrow.name in beside):
            return narrow
    if timeframe.name not in provider.native:
        raise UnsupportedError(
            f"provider {provider.name} has no {timeframe.name} bars: its own are"
            f" {', '.join(name for name in TIMEFRAMES if name in provider.native)}"
        )
    return timeframe
