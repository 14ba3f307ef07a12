"""Imports universes from CSV: each universe in the file gets exactly the symbols that the file lists."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from streamworkers.actor import LOCAL, Actor
from streamworkers.errors import BadInputError
from streamworkers.market.bars.rules import BrokenRuleError, Rule, parse_price, require_symbol
from streamworkers.market.bars.text_rows import Reject
from streamworkers.market.files.csv_lines import (
    header_names,
    read_line_blocks,
    require_columns,
    split_fields,
    word_csv_error,
)
from streamworkers.market.files.limits import DEFAULT_LIMITS, FileLimits
from streamworkers.market.universes.members import UniverseMembers, replace_members
from streamworkers.market.universes.store import UNIVERSE_TYPES, require_universe_name

MOST_MB = 8  # all of a file is in memory


@dataclass(frozen=True, slots=True)
class UniversesSummary:
    """The result of an import of universes; the counts are read_memberships, and a changed weight counts as unchanged.

    `rejected` are the rejected rows in the order of the file.
    """

    rows_read: int
    universes: tuple[str, ...]
    added: int
    removed: int
    unchanged: int
    rejected: tuple[Reject, ...]


def import_universes(
    connection: psycopg.Connection,
    path: Path,
    actor: Actor = LOCAL,
    *,
    most_mb: int = MOST_MB,
    limits: FileLimits = DEFAULT_LIMITS,
) -> UniversesSummary:
    """Replace the members of every universe in the file, all in one transaction.

    Columns in any order and case: universe, symbol, and optionally type (UNIVERSE if empty), weight, description.
    Bad rows are rejected and the others loaded; a universe without a valid row is not changed. Raises BadInputError if
    the file cannot be read, lacks a column, or holds more than `most_mb` of text.
    """
    groups: dict[tuple[str, str], UniverseMembers] = {}
    rejected: list[Reject] = []
    rows_read = 0
    for line, text, row in _rows(path, most_mb, limits):
        rows_read += 1
        try:
            _add_row(groups, row)
        except BrokenRuleError as error:
            rejected.append(Reject(line, error.rule, str(error), text))
    added = removed = 0
    with connection.transaction():
        for (name, type_name), group in sorted(groups.items()):
            more, fewer = replace_members(connection, name, type_name, group, actor)
            added, removed = added + more, removed + fewer
    members = sum(len(group.weights) for group in groups.values())
    names = tuple(sorted({name for name, _ in groups}))
    return UniversesSummary(rows_read, names, added, removed, members - added, tuple(rejected))


def _rows(path: Path, most_mb: int, limits: FileLimits) -> Iterator[tuple[int, str, dict[str, str] | BrokenRuleError]]:
    """Yield (line, text, fields by column) of each row, or a BrokenRuleError in place of the fields."""
    names: list[str] = []
    size = 0
    for block in read_line_blocks(path, limits=limits):
        size += sum(map(len, block.lines)) + len(block.lines)
        if size > most_mb << 20:
            raise BadInputError(f"the text of {path} exceeds STREAMWORKERS_UNIVERSES_MAX_MB={most_mb}")
        for line, text in enumerate(block.lines, block.first_line):
            if line == 1:
                names = header_names(path, text)
                require_columns(path, names, ("universe", "symbol"))
            elif text.strip():
                yield line, text, _fields(text, names)


def _fields(text: str, names: list[str]) -> dict[str, str] | BrokenRuleError:
    try:
        values = split_fields(text)
    except csv.Error as error:
        return BrokenRuleError(Rule.BAD_QUOTES, f"the quotes of the row do not match: {word_csv_error(error)}")
    if len(values) != len(names):
        detail = f"the row has {len(values)} fields where the header has {len(names)}"
        return BrokenRuleError(Rule.FIELD_COUNT, detail)
    return dict(zip(names, values, strict=True))


def _add_row(groups: dict[tuple[str, str], UniverseMembers], row: dict[str, str] | BrokenRuleError) -> None:
    if isinstance(row, BrokenRuleError):
        raise row
    name = require_universe_name(row["universe"])
    symbol = require_symbol(row["symbol"])
    type_name = row.get("type", "").strip().upper() or "UNIVERSE"
    if type_name not in UNIVERSE_TYPES:
        raise BrokenRuleError(Rule.BAD_TYPE, f"the type {row['type']!r} is not one of {', '.join(UNIVERSE_TYPES)}")
    weight = row.get("weight", "").strip()
    if weight:
        try:
            weight = parse_price("weight", weight)
        except BrokenRuleError as error:
            raise BrokenRuleError(Rule.BAD_WEIGHT, str(error)) from None
    group = groups.get((name, type_name))
    if group and symbol in group.weights:
        raise BrokenRuleError(Rule.DUPLICATE, f"duplicate in the file: {symbol} is in {name} already")
    group = groups.setdefault((name, type_name), UniverseMembers())
    group.weights[symbol] = weight or None
    group.description = row.get("description", "").strip().replace("\0", "") or group.description
