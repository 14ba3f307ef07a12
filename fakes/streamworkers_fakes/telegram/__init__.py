"""A fake Bot API of Telegram for tests and demos, with its rules, limits and updates; it misbehaves on demand."""

from streamworkers_fakes.telegram.bot_api import BOT_NAME, DEFAULT_TOKEN, FakeBotApi
from streamworkers_fakes.telegram.calls import BotCall, BotLimits
from streamworkers_fakes.telegram.plans import BOT_PLANS, BotPlan, parse_bot_plan
from streamworkers_fakes.telegram.server import RunningFakeBotApi, fake_bot_api_process, running_fake_bot_api

__all__ = [
    "BOT_NAME",
    "BOT_PLANS",
    "DEFAULT_TOKEN",
    "BotCall",
    "BotLimits",
    "BotPlan",
    "FakeBotApi",
    "RunningFakeBotApi",
    "fake_bot_api_process",
    "parse_bot_plan",
    "running_fake_bot_api",
]
