"""Why schedules that are stored cannot do what they are for: alone, by what is missing, or by what they come after."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from streamworkers.database import Connection
from streamworkers.engine.ledger.job_types import read_job_types
from streamworkers.engine.registry import Registry
from streamworkers.errors import BadInputError, UsageError
from streamworkers.market.universes.store import list_universe_names, require_universes
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.store import Schedule, list_schedules


class ScheduleProblem(NamedTuple):
    """What is wrong with a schedule; `is_broken` unless only a schedule that it comes after is paused."""

    text: str
    is_broken: bool = True


class AfterLink(NamedTuple):
    """What a schedule comes after, and whether it is enabled."""

    after: str | None
    enabled: bool


def find_problems(connection: Connection, registry: Registry) -> dict[str, ScheduleProblem]:
    """The first problem of each schedule that has one; one that is paused waits for nobody."""
    every = list_schedules(connection)
    universes, jobs = set(list_universe_names(connection)), {each.name for each in read_job_types(connection)}
    found = find_link_problems({each.name: _read_link(each.definition) for each in every})
    for schedule in every:
        text = schedule.broken or schedule.problem or _find_unstartable(schedule, registry, universes, jobs)
        if text is not None:
            found[schedule.name] = ScheduleProblem(text.removeprefix(f"schedule {schedule.name!r}: "))
    return found


def require_target(connection: Connection, definition: ScheduleDefinition, before: ScheduleDefinition | None) -> None:
    """Raise UnknownNameError if a universe of a new or changed target does not exist."""
    target = definition.target
    if target is not None and target.universe is not None and (before is None or before.target != target):
        require_universes(target.universe, list_universe_names(connection))


def require_no_circle(definitions: Mapping[str, str | None]) -> None:
    """Raise BadInputError if some of these come after each other in a circle; given what each comes after."""
    for name in sorted(definitions):
        path = _follow(name, definitions)
        if len(path) > 1 and path[-1] == name:
            raise BadInputError(f"schedules come after each other in a circle: {' after '.join(path)}")


def find_link_problems(links: Mapping[str, AfterLink]) -> dict[str, ScheduleProblem]:
    """What is wrong with what enabled schedules come after: a circle, or a schedule that is paused. Pure."""
    after = {name: link.after for name, link in links.items()}
    problems = {}
    for name, link in links.items():
        path = _follow(name, after)
        if len(path) > 1 and path[-1] in path[:-1]:
            problems[name] = ScheduleProblem(f"it waits in a circle: {' after '.join(path)}")
        elif link.enabled and (paused := next((at for at in path[1:] if at in links and not links[at].enabled), None)):
            chain = "" if paused == link.after else f" (by way of {', '.join(path[1 : path.index(paused)])})"
            problems[name] = ScheduleProblem(f"it comes after {paused!r}{chain}, which is paused", is_broken=False)
    return problems


def _follow(name: str, after: Mapping[str, str | None]) -> list[str]:
    """A schedule, what it comes after, and so on; the last one is named twice if it is in a circle."""
    path, seen = [name], {name}
    while (at := after.get(path[-1])) is not None:
        path.append(at)
        if at in seen:
            break
        seen.add(at)
    return path


def _read_link(definition: ScheduleDefinition | None) -> AfterLink:
    return AfterLink(None, enabled=False) if definition is None else AfterLink(definition.after, definition.enabled)


def _find_unstartable(
    schedule: Schedule, registry: Registry, universes: Collection[str], jobs: Collection[str]
) -> str | None:
    """Why each of its ticks would be rejected; a job that other processes have is not judged here."""
    definition = schedule.require_definition()
    try:
        if definition.job in registry or definition.job not in jobs:
            definition.require_startable(registry)
        if definition.target is not None and definition.target.universe is not None:
            require_universes(definition.target.universe, universes)
    except UsageError as error:
        return str(error)
    return None
