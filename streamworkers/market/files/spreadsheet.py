"""Cells of CSV files that a spreadsheet must not take for a formula, which can read other cells and call programs."""

import re
from collections.abc import Sequence

import psycopg
from psycopg import sql

# A formula begins with one of these, at the beginning of a cell or behind a separator of another country's spreadsheet.
# A number with a sign is none, if it is all of the cell.
_NUMBER = r"\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?(?=[;\t]|$)"
_FORMULA = re.compile(rf"^(?=[=@\t\r]|[+-](?!{_NUMBER}))|(?<=[;\t])(?=[=@]|[+-](?!{_NUMBER}))")
_BEGINS_FORMULA = r"^[=+@\t\r-]"
_TEXTS = ("text", "varchar", "bpchar", "name")


def guard_cell(text: str) -> str:
    """Put an apostrophe before what a spreadsheet would compute; any other text stays as it is."""
    return _FORMULA.sub("'", text)


def guard_rows(connection: psycopg.Connection, query: sql.Composed, parameters: Sequence[object]) -> sql.Composed:
    """A query for the same rows, with an apostrophe before texts that a spreadsheet would compute."""
    described = connection.execute(sql.SQL("SELECT * FROM ({}) AS rows LIMIT 0").format(query), parameters).description
    columns = []
    for column in described or ():
        name, kind = sql.Identifier(column.name), getattr(psycopg.adapters.types.get(column.type_code), "name", "text")
        guarded = sql.SQL("CASE WHEN {0} ~ {1} THEN {2} || {0} ELSE {0} END AS {0}")
        columns.append(guarded.format(name, sql.Literal(_BEGINS_FORMULA), sql.Literal("'")) if kind in _TEXTS else name)
    return sql.SQL("SELECT {} FROM ({}) AS rows").format(sql.SQL(", ").join(columns), query)
