"""Environment variables with the project's prefix that mean nothing: most of them are slips."""

from collections.abc import Iterator, Mapping

from streamworkers.config.renamed import RENAMED
from streamworkers.config.settings import PREFIX, Settings
from streamworkers.errors import find_near

# Variables of the compose file, of Grafana and of programs that call the HTTP API, which share its environment.
_OF_OTHERS = ("ALERT_ADDRESSES", "ALERT_WEBHOOK_URL", "API_TOKEN", "PROMETHEUS_URL")
_PREFIX_OF_OTHERS = "GRAFANA_"


def find_unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each variable that is no setting, with the setting of the nearest name."""
    known = {*map(str.upper, Settings.model_fields), *_OF_OTHERS, *(old.removeprefix(PREFIX) for old in RENAMED)}
    for variable in sorted(environment):
        name = variable.removeprefix(PREFIX)
        if not variable.startswith(PREFIX) or name in known or name.startswith(_PREFIX_OF_OTHERS):
            continue
        near = find_near(name, sorted(known))
        hint = f"; did you mean {PREFIX}{near}?" if near else ""
        yield f"{variable} is no setting of streamworkers, and is ignored{hint}"
