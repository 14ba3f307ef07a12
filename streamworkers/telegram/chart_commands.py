"""`/chart`: the worker that draws answers with a second message."""

from streamworkers.database import Connection
from streamworkers.engine.job import RunRequest
from streamworkers.errors import BadInputError
from streamworkers.market.bars.stored_timeframes import list_stored_timeframes
from streamworkers.notifications.content import Content
from streamworkers.telegram.asker import Asker
from streamworkers.telegram.command_runs import start_run
from streamworkers.telegram.commands import DrawChart

CHART_JOB = "chart"


def answer_chart(connection: Connection, asker: Asker, command: DrawChart) -> Content:
    """Start the run that draws a symbol, without a timeframe in the narrowest that is stored."""
    stored = list_stored_timeframes(connection, command.symbol)
    if not stored:
        raise BadInputError(f"no bars of {command.symbol} are stored")
    timeframe = command.timeframe or stored[0]
    if timeframe not in stored:
        raise BadInputError(f"no {timeframe} bars of {command.symbol} are stored, but there are {', '.join(stored)}")
    request = RunRequest(CHART_JOB, (command.symbol,), command.symbol, timeframe)
    run = start_run(connection, asker.link, request, f"the chart of {command.symbol}")
    return Content(f"Drawing {command.symbol}, {timeframe}: run {run}")
