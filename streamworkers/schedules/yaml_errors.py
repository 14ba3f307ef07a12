"""Where a text is no YAML and why, as a sentence of this project, and not in the words of PyYAML's grammar."""

import re

import yaml

_MOST_CHARACTERS = 80
# What PyYAML calls the problem, by how it begins, and what that is for people; {0} is the value in it.
_RULES = tuple(
    (re.compile(pattern, re.DOTALL), words)
    for pattern, words in (
        (r"found character '\\t'", "a tab stands where only spaces may: indent with spaces"),
        (r"found character (.*) that cannot start any token", "{0} cannot begin a value: put the value in quotes"),
        (r"could not find expected ':'", "a name has no colon behind it"),
        (r"sequence entries are not allowed here", "a list item cannot begin here: begin it on a line of its own"),
        (r"mapping (?:keys|values) are not allowed here", "a colon cannot stand here: put the value in quotes"),
        (r"found unexpected end of stream", "a quote is not closed"),
        (r"found unexpected document separator", "a quote is not closed before the line `---`"),
        (r"found unknown escape character (.*)", "there is no escape of {0}"),
        (r"expected escape sequence of (\d+) .*", "the escape has not {0} hexadecimal digits"),
        (r"expected ',' or '([\]}])', but got .*", "a comma or {0} is missing"),
        (r"expected <block end>, but found .*", "this line does not fit those above: compare their indents"),
        (r"expected the node content, but found .*", "a value is missing"),
        (r"but found another document", "a second document begins: a file is one list"),
        (r"expected '<document start>', but found .*", "something stands behind the end of the document"),
        (r"found undefined alias (.*)", "no anchor &{0} stands above its use *{0}"),
        (r"second occurrence", "this anchor stands here a second time"),
        (r"could not determine a constructor for the tag (.*)", "the tag {0} is not one that is read"),
        (r"found undefined tag handle (.*)", "the tag {0} is not one that is read"),
        (r"found unhashable key", "a name is a list or a mapping"),
        (r"found unconstructable recursive node", "a value holds itself"),
        (r"expected a mapping(?: or list of mappings)? for merging, but found .*", "what << names is no mapping"),
        (r"expected (?:chomping|indentation|a comment) .*", "something stands behind the | or > of a text"),
        (r"expected alphabetic .*", "& or * cannot begin a value: put the value in quotes"),
        (r"found incompatible YAML document", "the version of YAML is not 1"),
        (r"failed to (?:convert|decode) base64", "the value is not base64"),
        (r"expected (?:a|an) \w+.*, but found .*", "the value is not of the kind of its tag"),
    )
)


def word_yaml_error(error: Exception) -> str:
    """Say why a text is no YAML, and where: line and column from 1. A problem that is not known keeps its text."""
    if isinstance(error, yaml.reader.ReaderError):
        return f"the character {chr(_code(error))!r}, number {error.position + 1} of the text, cannot stand in YAML"
    if not isinstance(error, yaml.MarkedYAMLError):
        return _shorten(str(error))
    is_open = (error.problem or "").startswith("found unexpected")  # the end of the text says nothing of the quote
    mark = (error.context_mark if is_open else None) or error.problem_mark or error.context_mark
    at = "" if mark is None else f"at line {mark.line + 1}, column {mark.column + 1}: "
    return at + _word(error.problem or error.context or "")


def _code(error: yaml.reader.ReaderError) -> int:
    return ord(error.character) if isinstance(error.character, str) else int(error.character)


def _word(problem: str) -> str:
    for pattern, words in _RULES:
        if found := pattern.match(problem):
            return _shorten(words.format(*(part.strip("'\"") for part in found.groups())))
    return _shorten(problem)


def _shorten(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 2 * _MOST_CHARACTERS else f"{words[: 2 * _MOST_CHARACTERS]}…"
