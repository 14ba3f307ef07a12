"""`streamworkers fake-smtp`."""

from pathlib import Path

import click

from streamworkers_fakes.serving import Certificate, stop_signal
from streamworkers_fakes.smtp.plans import SMTP_PLANS
from streamworkers_fakes.smtp.server import Security, SmtpOptions, running_fake_smtp


class _WithPlans(click.Command):
    """A command whose help lists the plans below the options."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Plans"):
            formatter.write_dl([(name, meaning.format(to="TO")) for name, meaning in SMTP_PLANS.items()])


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=_WithPlans, short_help="Take mail as a mail server would.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="Port; 0 picks a free one.")
@click.option(
    "--security",
    type=click.Choice(["none", "starttls", "tls"]),
    default="none",
    show_default=True,
    help="Encryption that it offers; it needs --certificate and --key.",
)
@click.option("--certificate", type=_FILE, help="Chain of the server's certificate, as PEM.")
@click.option("--key", type=_FILE, help="Its key.")
@click.option(
    "--folder", type=click.Path(file_okay=False, path_type=Path), help="Write the mails into this folder at the end."
)
@click.option(
    "--plan",
    "plans",
    multiple=True,
    metavar="NAME",
    help="Misbehave; ,step=mail|rcpt|data ,to=ADDRESS and ,calls=N restrict it.",
)
def fake_smtp(
    host: str,
    port: int,
    security: Security,
    certificate: Path | None,
    key: Path | None,
    folder: Path | None,
    plans: tuple[str, ...],
) -> None:
    """Take mail and deliver nothing, until SIGTERM or Ctrl-C.

    Standard output is one line, HOST:PORT for STREAMWORKERS_SMTP_HOST and STREAMWORKERS_SMTP_PORT.
    """
    chain = Certificate(certificate, key) if certificate is not None and key is not None else None
    stop = stop_signal()
    with running_fake_smtp(SmtpOptions(security, chain), host=host, port=port) as server:
        for text in plans:
            server.plan(text)
        click.echo(f"{server.host}:{server.port}")
        stop.wait()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            for number, mail in enumerate(server.mails, 1):
                (folder / f"{number:04}.eml").write_bytes(mail.content)
