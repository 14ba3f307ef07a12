"""`streamworkers telegram`: the bot, and who may use it."""

from contextlib import closing

import click

from streamworkers.actor import Actor
from streamworkers.cli.session import Session, json_option, print_json, print_table
from streamworkers.engine.host.start import wait_for_stores
from streamworkers.errors import UsageError
from streamworkers.telegram.poller import BadTokenError
from streamworkers.telegram.service import BotOptions, TelegramBot
from streamworkers.telegram.store.link_codes import CODE_LIFE, SCOPES, make_code
from streamworkers.telegram.store.links import list_links, remove_link, require_link
from streamworkers.users import require_user

EXIT_BAD_TOKEN = 78  # EX_CONFIG: a supervisor of processes need not start it again
_LINKS = {"user": "user", "chat": "chat", "telegram_user": "telegram user", "scopes": "scopes", "since": "since"}


@click.group(invoke_without_command=True, short_help="Start the Telegram bot; make codes, list and remove links.")
@click.option(
    "--metrics-port", type=click.IntRange(0, 65535), help="Port of /metrics, /livez and /readyz; 0 picks a free one."
)
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="The address to serve them on.")
@click.pass_context
def telegram(context: click.Context, metrics_port: int | None, metrics_host: str) -> int | None:
    """Start the Telegram bot, unless a command follows. docs/guides/telegram.md says how to make and link one.

    Any number of these processes may run: one asks for updates, the others stand by. It runs until SIGTERM or
    Ctrl-C. Exit code 78 if Telegram does not know STREAMWORKERS_TELEGRAM_TOKEN.
    """
    if context.invoked_subcommand is not None:
        return None
    session = Session.open()
    token = session.settings.telegram_token
    if token is None:
        raise UsageError("STREAMWORKERS_TELEGRAM_TOKEN is not set: @BotFather makes a bot and its token")
    try:
        bot = TelegramBot(
            session.settings, token, session.redis_url, session.database_url, BotOptions(metrics_host, metrics_port)
        )
    except UsageError as error:
        if "TELEGRAM_TOKEN" not in str(error):
            raise
        click.echo(f"Error: {error}", err=True)
        return EXIT_BAD_TOKEN
    with closing(bot):
        checks = (session.check_database, session.check_installation)
        if wait_for_stores(bot.host.begin(), checks, session.settings.start_wait_seconds):
            try:
                bot.run()
            except BadTokenError as error:
                click.echo(f"Error: {error}", err=True)
                return EXIT_BAD_TOKEN
    return 0


@telegram.command("code", short_help="Make a code that links a chat with a user.")
@click.argument("user")
@click.option("--scope", "scopes", multiple=True, help=f"What else the link may see: {' or '.join(SCOPES)}.")
@json_option
def code_command(user: str, scopes: tuple[str, ...], as_json: bool) -> None:
    """Make a code for USER, who sends `/start CODE` to the bot; it is good once, for ten minutes."""
    with Session.open().database() as connection, connection.transaction():
        code = make_code(connection, Actor("local"), user, scopes)
    minutes = CODE_LIFE.seconds // 60
    if as_json:
        print_json({"user": user, "scopes": sorted(set(scopes)), "code": code, "minutes": minutes})
        return
    click.echo(f"send this to the bot within {minutes} min: /start {code}")


@telegram.group("links", short_help="List and remove links of chats with users.")
def links() -> None:
    """List and remove links: a person in a chat who acts for a user."""


@links.command("list", short_help="List links of chats with users.")
@click.option("--user", help="Only links of this user.")
@json_option
def list_command(user: str | None, as_json: bool) -> None:
    """List who may use the bot, where, and with which scopes."""
    with Session.open().database() as connection:
        found = list_links(connection, user)
        if user is not None and not found:
            require_user(connection, user)
    rows = [
        {
            "user": each.user,
            "chat": each.chat_id,
            "telegram_user": each.telegram_user,
            "scopes": list(each.scopes),
            "since": each.created_at,
        }
        for each in found
    ]
    if as_json:
        print_json(rows)
        return
    shown = [{**row, "scopes": " ".join(each.scopes)} for row, each in zip(rows, found, strict=True)]
    print_table(shown, _LINKS, "no links yet: streamworkers telegram code USER")


@links.command("remove", short_help="End a link.")
@click.argument("user")
@click.argument("chat", type=int)
def remove_command(user: str, chat: int) -> None:
    """End the links of USER in CHAT, a number of `links list`; messages to it end, too."""
    with Session.open().database() as connection, connection.transaction():
        require_link(connection, user, chat)
        for link in list_links(connection, user):
            if link.chat_id == chat:
                remove_link(connection, Actor(user), link)
    click.echo(f"removed: user {user} in chat {chat}")
