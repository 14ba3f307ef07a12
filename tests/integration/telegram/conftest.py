"""A bot with two users, of whom nobody is linked."""

import pytest

from bot_stage import BotStage
from streamworkers.config import Settings
from streamworkers.database import Connection


@pytest.fixture
def stage(connection: Connection, settings: Settings) -> BotStage:
    """Users ann and bob, and a bot that nobody is linked with."""
    connection.execute("INSERT INTO users (id) VALUES ('ann'), ('bob')")
    return BotStage(connection, settings)
