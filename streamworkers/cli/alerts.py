"""`streamworkers alerts`: the group of its commands."""

import click

from streamworkers.cli import alerts_files, alerts_read, alerts_replay, alerts_silence, alerts_test, alerts_write


@click.group(short_help="Alerts: add, try, list, mute and edit them.")
def alerts() -> None:
    """Alerts: rules that fire on closed bars (docs/guides/alerts.md)."""


for _command in (
    alerts_write.add,
    alerts_write.copy,
    alerts_write.edit,
    alerts_files.export,
    alerts_read.history,
    alerts_files.import_command,
    alerts_read.list_command,
    alerts_silence.mute,
    alerts_write.pause,
    alerts_write.remove,
    alerts_replay.replay,
    alerts_write.resume,
    alerts_read.show,
    alerts_silence.snooze,
    alerts_test.try_command,
    alerts_silence.unmute,
):
    alerts.add_command(_command)
