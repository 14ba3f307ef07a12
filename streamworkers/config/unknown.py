"""Environment variables with the project's prefix that mean nothing: most of them are slips."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from streamworkers.config.renamed import RENAMED
from streamworkers.config.settings import PREFIX, Settings
from streamworkers.errors import find_near

# Variables of the compose file, of Grafana and of programs that call the HTTP API, which share its environment.
_OF_OTHERS = ("ALERT_ADDRESSES", "ALERT_WEBHOOK_URL", "API_TOKEN", "PROMETHEUS_URL")
_PREFIX_OF_OTHERS = "GRAFANA_"


class UnknownVariable(NamedTuple):
    """A variable that is no setting, and the setting of the nearest name, if one is near."""

    variable: str
    nearest: str | None

    def __str__(self) -> str:
        hint = f"; did you mean {self.nearest}?" if self.nearest else ""
        return f"{self.variable} is no setting of streamworkers, and is ignored{hint}"


def find_unknown_variables(environment: Mapping[str, str]) -> Iterator[UnknownVariable]:
    """Yield the variables that are no settings, in alphabetical order; as a text, each is a sentence."""
    known = {*map(str.upper, Settings.model_fields), *_OF_OTHERS, *(old.removeprefix(PREFIX) for old in RENAMED)}
    for variable in sorted(environment):
        name = variable.removeprefix(PREFIX)
        if not variable.startswith(PREFIX) or name in known or name.startswith(_PREFIX_OF_OTHERS):
            continue
        near = find_near(name, sorted(known))
        yield UnknownVariable(variable, f"{PREFIX}{near}" if near else None)
