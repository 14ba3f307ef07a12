"""The settings in force, each with its value for people and with where it comes from."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, get_args

from pydantic import SecretStr

from streamworkers.config.masking import MASK, mask_url
from streamworkers.config.renamed import RENAMED
from streamworkers.config.scheduling import BARE_VARIABLES
from streamworkers.config.settings import PREFIX, Settings

Shown = bool | int | float | str | None


class SettingInForce(NamedTuple):
    """A setting: its value, masked if it is secret, its default, and what sets it."""

    name: str
    variable: str
    value: Shown
    default: Shown
    source: str
    is_secret: bool

    @property
    def is_changed(self) -> bool:
        """True if a variable sets it, also to its default."""
        return self.source != "default"


def is_secret(name: str) -> bool:
    """True for a setting whose value is never printed as it is."""
    annotation = Settings.model_fields[name].annotation
    return annotation is SecretStr or SecretStr in get_args(annotation)


def list_settings(settings: Settings, environment: Mapping[str, str]) -> Iterator[SettingInForce]:
    """Yield every setting by subject; `environment` is that of before old variables got their new names."""
    for name, field in Settings.model_fields.items():
        yield SettingInForce(
            name,
            f"{PREFIX}{name.upper()}",
            format_setting(name, getattr(settings, name)),
            format_setting(name, field.get_default()),
            _find_source(name, environment),
            is_secret(name),
        )


def format_setting(name: str, value: object) -> Shown:
    """Return the value of a setting for people: of secrets, only user and host of a URL."""
    if isinstance(value, SecretStr):
        return mask_url(value.get_secret_value()) if name.endswith(("_url", "_proxy")) else MASK
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    return mask_url(text) if "://" in text else text


def _find_source(name: str, environment: Mapping[str, str]) -> str:
    """The variable that sets a setting, if it is another than its own: an old name, or one from before the prefix."""
    variable = f"{PREFIX}{name.upper()}"
    old = [old for old, new in RENAMED.items() if new == variable]
    for each in (variable, *old, *([name.upper()] if name in BARE_VARIABLES else [])):
        if environment.get(each):
            return "environment" if each == variable else f"environment ({each})"
    return "default"
