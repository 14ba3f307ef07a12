"""What is wrong with a command line, in the words of all other errors: what it is about, the value, and the rule.

Click finds it, and its lines with the usage and the way to the help stay. Its message has the value in its text only. A
message in words that this module does not know, as of another package's command, is shown as it is.
"""

import ast
import difflib
import re
from collections.abc import Sequence

import click

from streamworkers.errors import find_near

_LARGEST = 2**63 - 1  # of an id; named only to who has met it
_MOST_DIGITS = 100
# The value comes first in click's messages: quoted, or a number.
_VALUE = re.compile(r"(?P<value>'.*'|\".*\"|\S+) (?:is not|does not match|is a) ", re.DOTALL)
_COMMAND = re.compile(r"No such command ['\"](?P<name>.*?)['\"]\.(?: |\Z)", re.DOTALL)
_WORDS = re.compile(r"\((?P<words>.*)\)\.?\Z", re.DOTALL)
_PATH = re.compile(r"(?:File|Directory|Path) (?P<value>'.*'|\".*\") (?P<rule>.*?)\.?\Z", re.DOTALL)
_WORDS_OF_TYPES = (
    (click.types.UUIDParameterType, "a UUID"),
    (click.types.BoolParamType, "true or false"),
    (click.types.IntParamType, "a whole number"),
    (click.types.FloatParamType, "a number"),
)
_FORMS = {"%Y-%m-%d": "a date YYYY-MM-DD", "%Y-%m-%dT%H:%M": "a time YYYY-MM-DDThh:mm"}


def word_usage_error(error: click.UsageError) -> click.UsageError:
    """Return the error with a message of this project; one that prints a help text unchanged."""
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # new in click 8.2
        return error
    return click.UsageError(_word(error), error.ctx)


def _word(error: click.UsageError) -> str:
    match error:
        case click.NoSuchOption():
            return _word_unknown("option", error.option_name, _list_options(error.ctx), error.ctx)
        case click.MissingParameter():
            return _word_missing(error)
        case click.BadParameter():
            return _word_value(error)
        case click.BadOptionUsage():
            return _word_option(error)
    text = error.format_message()
    if found := _COMMAND.match(text):  # its class is new in click 8.4
        return _word_unknown("command", found["name"], _list_commands(error.ctx), error.ctx)
    if "unexpected extra argument" in text and error.ctx is not None and (found := _WORDS.search(text)):
        return _word_surplus(found["words"], error.ctx)
    return _without_stop(text)


def _word_unknown(kind: str, name: str, known: Sequence[str], ctx: click.Context | None) -> str:
    if near := difflib.get_close_matches(name, known) or list(filter(None, [find_near(name, known)])):
        hint = f"did you mean {' or '.join(map(repr, near))}?"
    elif kind == "command":
        hint = f"known: {', '.join(known)}"
    else:
        hint = "its help lists them"
    owner = "" if ctx is None or ctx.parent is None else f" of `{ctx.command_path}`"
    return f"no {kind}{owner} is named {name!r}; {hint}"


def _list_options(ctx: click.Context | None) -> list[str]:
    options = [] if ctx is None else [each for each in ctx.command.get_params(ctx) if isinstance(each, click.Option)]
    return sorted({name for each in options if not each.hidden for name in (*each.opts, *each.secondary_opts)})


def _list_commands(ctx: click.Context | None) -> list[str]:
    return ctx.command.list_commands(ctx) if ctx is not None and isinstance(ctx.command, click.Group) else []


def _word_missing(error: click.MissingParameter) -> str:
    rule = "" if error.param is None else _list_choices(error.param.type)
    kind = "option" if isinstance(error.param, click.Option) else "argument"
    return f"the {kind} {_name(error)} is missing{': it is one of ' + rule if rule else ''}"


def _word_value(error: click.BadParameter) -> str:
    name, text = _name(error), _without_stop(error.message)
    if found := _PATH.match(text):
        return f"{name} {found['value']} {found['rule']}"
    kind = None if error.param is None else error.param.type
    found = _VALUE.match(text)
    value = "" if found is None else _unquote(found["value"])
    rule = _describe_rule(kind, value)
    if found is None or rule is None:
        return f"{name}: {text}"
    near = find_near(value, [str(each) for each in kind.choices]) if isinstance(kind, click.Choice) else None
    return f"{name} {value!r} is not {rule}" + ("" if near is None else f"; did you mean {near!r}?")


def _word_option(error: click.BadOptionUsage) -> str:
    """The message for an option without its value, or with one that it does not take."""
    if "does not take a value" in error.message:
        return f"{error.option_name} takes no value"
    if "requires an argument" in error.message:
        return f"{error.option_name} needs a value"
    return _without_stop(error.message)


def _word_surplus(words: str, ctx: click.Context) -> str:
    names = [each.human_readable_name for each in ctx.command.get_params(ctx) if isinstance(each, click.Argument)]
    takes = f"takes only {', '.join(names)}" if names else "takes no arguments"
    return f"{words!r} is too much: `{ctx.command_path}` {takes}"


def _name(error: click.BadParameter) -> str:
    """The option as it is written, or the argument as the usage has it."""
    if isinstance(error.param, click.Option):
        return max(error.param.opts, key=len)
    if error.param is not None:
        return error.param.human_readable_name
    hint = error.param_hint or "a value"
    return hint if isinstance(hint, str) else " / ".join(hint)


def _describe_rule(kind: object, value: str) -> str | None:
    """What a value of a type is, after `is not`; None for a type that says it itself."""
    if isinstance(kind, click.Choice):
        return f"one of {_list_choices(kind)}"
    if isinstance(kind, click.DateTime):
        return " or ".join(_FORMS.get(form, f"of the form {form}") for form in kind.formats)
    for types, words in _WORDS_OF_TYPES:
        if isinstance(kind, types):
            unit = " of seconds" if getattr(kind, "name", None) == "seconds" else ""
            return f"{words}{unit}{_describe_range(kind, value)}"
    return None


def _list_choices(kind: object) -> str:
    """The values of a choice; empty for another type."""
    return ", ".join(str(each) for each in kind.choices) if isinstance(kind, click.Choice) else ""


def _describe_range(kind: object, value: str) -> str:
    if not isinstance(kind, click.IntRange | click.FloatRange):
        return ""
    is_too_large = value.isdecimal() and int(value[:_MOST_DIGITS]) > _LARGEST
    least, most = kind.min, kind.max if kind.max != _LARGEST or is_too_large else None
    if least is not None and most is not None and not (kind.min_open or kind.max_open):
        return f" from {least} to {most}"
    limits = []
    if least is not None:
        limits.append(f"{'more than' if kind.min_open else 'at least'} {least}")
    if most is not None:
        limits.append(f"{'less than' if kind.max_open else 'at most'} {most}")
    return "".join(f", {limit}" for limit in limits)


def _unquote(text: str) -> str:
    """The value as it was written: click's message has its `repr`, and a number that was read from it."""
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _without_stop(text: str) -> str:
    return text.strip().removesuffix(".")
