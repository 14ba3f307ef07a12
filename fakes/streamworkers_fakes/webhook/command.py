"""`streamworkers fake-webhook`."""

import click

from streamworkers_fakes.serving import stop_signal
from streamworkers_fakes.webhook.receiver import HOOK_PLANS, FakeReceiver
from streamworkers_fakes.webhook.server import running_fake_receiver


class _WithPlans(click.Command):
    """A command whose help lists the plans below the options."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Plans"):
            formatter.write_dl(list(HOOK_PLANS.items()))


@click.command(cls=_WithPlans, short_help="Take webhooks, and messages as Slack and Discord would.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="Port; 0 picks a free one.")
@click.option(
    "--secret", "secrets", multiple=True, help="A secret of which one must have signed; else none is checked."
)
@click.option("--plan", "plans", multiple=True, metavar="NAME[=VALUE]", help="Answer so; the last one for all others.")
def fake_webhook(host: str, port: int, secrets: tuple[str, ...], plans: tuple[str, ...]) -> None:
    """Take webhooks, below /slack and /discord with the rules of these services, until SIGTERM or Ctrl-C.

    Standard output is one line, the base URL.
    """
    receiver = FakeReceiver([secret.encode() for secret in secrets])
    receiver.plan(*plans)
    stop = stop_signal()
    with running_fake_receiver(receiver, host=host, port=port) as server:
        click.echo(server.url)
        stop.wait()
