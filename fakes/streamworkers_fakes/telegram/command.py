"""`streamworkers fake-bot-api`."""

import click

from streamworkers_fakes.serving import stop_signal
from streamworkers_fakes.telegram.bot_api import DEFAULT_TOKEN, FakeBotApi
from streamworkers_fakes.telegram.calls import BotLimits
from streamworkers_fakes.telegram.plans import BOT_PLANS, parse_bot_plan
from streamworkers_fakes.telegram.server import running_fake_bot_api


class _WithPlans(click.Command):
    """A command whose help lists the plans below the options."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Plans"):
            formatter.write_dl([(name, plan.meaning) for name, plan in BOT_PLANS.items()])


@click.command(cls=_WithPlans, short_help="Take messages as Telegram's Bot API would.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="Port; 0 picks a free one.")
@click.option("--token", default=DEFAULT_TOKEN, show_default=True, help="The token that is accepted.")
@click.option("--without-limits", is_flag=True, help="Accept any number of messages a second.")
@click.option(
    "--plan",
    "plans",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Misbehave; ,chat=ID ,method=NAME and ,calls=N restrict it to some calls.",
)
def fake_bot_api(host: str, port: int, token: str, without_limits: bool, plans: tuple[str, ...]) -> None:
    """Take messages as Telegram's Bot API would, with its rules and limits, until SIGTERM or Ctrl-C.

    Standard output is one line, the URL for STREAMWORKERS_TELEGRAM_URL. GET /__log__ lists the calls; POST
    /__control__ takes {"plans": […], "say": [{"text": …, "user": …}], "updates": […], "clear": true}.
    """
    fake = FakeBotApi(token, None if without_limits else BotLimits())
    for text in plans:
        fake.plans.add(parse_bot_plan(text))
    stop = stop_signal()
    with running_fake_bot_api(fake, host=host, port=port) as server:
        click.echo(server.url)
        stop.wait()
