"""`streamworkers config`: the settings in force."""

import os

import click

from streamworkers.cli.session import json_option, print_json, print_table
from streamworkers.config import load_settings
from streamworkers.config.listing import SettingInForce, list_settings
from streamworkers.config.unknown import find_unknown_variables

_COLUMNS = {"variable": "variable", "value": "value", "source": "from"}


@click.group(short_help="Settings: show those in force, and where each comes from.")
def config() -> None:
    """Settings: show those in force, and where each comes from."""


@config.command(short_help="Show the settings in force, secrets masked.")
@click.option("--changed", is_flag=True, help="Only settings that a variable sets.")
@json_option
def show(changed: bool, as_json: bool) -> None:
    """Show the settings in force in this environment, and where each comes from.

    Secrets are shown as ***; of a URL, its password and options that may hold one. Variables STREAMWORKERS_… that
    are no settings are listed below, without their values. No file of settings is read.
    """
    environment = dict(os.environ)  # loading gives old variables their new names
    settings = [each for each in list_settings(load_settings(), environment) if each.is_changed or not changed]
    unknown = list(find_unknown_variables(environment))
    if as_json:
        print_json(
            {
                "settings": [each._asdict() for each in settings],
                "unknown": [each._asdict() for each in unknown],
            }
        )
        return
    print_table(
        [_make_row(each) for each in settings], _COLUMNS, "no variable sets anything: all defaults are in force"
    )
    for each in unknown:
        click.echo(f"Warning: {each}", err=True)


def _make_row(setting: SettingInForce) -> dict[str, object]:
    value = setting.value
    return {**setting._asdict(), "value": f"{value:g}" if isinstance(value, float) else value}
