"""The warning of commands that ask for what this environment lacks a setting for: that of the workers may have it."""

from typing import Any

from streamworkers.cli.session import messages
from streamworkers.config import Settings
from streamworkers.engine.job import Job
from streamworkers.engine.ledger import Run
from streamworkers.loading.providers.provider import get_provider
from streamworkers.notifications.channels.channel import Address, MessageChannel
from streamworkers.required_settings import find_missing_setting


def warn_of_missing_provider_setting(settings: Settings, run: Run) -> None:
    """Print a warning if the run is a load whose provider lacks a setting here."""
    provider = run.parameters.get("provider") if run.job == "load_ohlcv" else None
    if isinstance(provider, str) and (missing := get_provider(provider).find_missing_setting(settings)) is not None:
        _warn(f"{missing}: it is not set here, and a worker without it ends the run")


def warn_of_missing_job_setting(job: Job[Any]) -> None:
    """Print a warning if the job needs an environment variable that is not set here."""
    if (missing := find_missing_setting(job.name, job.required_settings)) is not None:
        _warn(f"{missing}: a worker without it ends the run")


def warn_of_missing_channel_setting(channel: MessageChannel, address: Address) -> None:
    """Print a warning if a channel lacks a setting here for sending to an address."""
    if (missing := channel.find_missing_setting(address)) is not None:
        _warn(f"{missing}: a worker without it sends nothing")


def _warn(text: str) -> None:
    messages.print(f"warning: {text}", markup=False, soft_wrap=True)
