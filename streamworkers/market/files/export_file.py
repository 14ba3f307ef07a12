"""Writes the rows of a query to a CSV or Parquet file, in memory that does not grow with their number.

A file appears under its name when it is whole. CSV keeps the digits of the database; Parquet has prices as float64.
"""

import gzip
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Literal

import psycopg
from psycopg import sql

from streamworkers.errors import BadInputError, UsageError
from streamworkers.market.files.spreadsheet import guard_rows

FileFormat = Literal["csv", "parquet"]

_ROWS_OF_A_PART = 20_000
# The file may be on a slow disk: the export only reads, and waits in its transaction while a part is written.
_LONGEST_PART = "10min"


@dataclass(frozen=True, slots=True)
class ExportTarget:
    """A file to write, its format, and whether it may replace another."""

    path: Path
    format: FileFormat
    overwrite: bool = False


def find_format(path: Path, given: str | None) -> FileFormat:
    """Return the format that is given, or that the ending of a file's name shows. Raises BadInputError."""
    name = path.name.lower()
    if given == "csv" or (given is None and name.endswith((".csv", ".csv.gz"))):
        return "csv"
    if given == "parquet" or (given is None and name.endswith((".parquet", ".pq"))):
        return "parquet"
    raise BadInputError(f"the name {path.name!r} ends neither in .csv, .csv.gz nor .parquet; add --format")


def write_rows(
    connection: psycopg.Connection, query: sql.Composed, parameters: Sequence[object], target: ExportTarget
) -> int:
    """Write the rows of a query, all as of one moment, and return their number.

    Raises BadInputError if the file exists and may not be replaced, or cannot be written, and UsageError if Parquet is
    wanted and pyarrow is not installed.
    """
    if target.format == "parquet":
        _require_pyarrow()
    with _whole_file(target) as stream:
        if target.format == "parquet":
            return _write_parquet(connection, query, parameters, stream)
        return _write_csv(connection, query, parameters, stream, packed=target.path.name.lower().endswith(".gz"))


def _require_pyarrow() -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise UsageError("Parquet needs the package pyarrow; pip install 'streamworkers[parquet]'") from error


@contextmanager
def _whole_file(target: ExportTarget) -> Iterator[IO[bytes]]:
    """Open a file beside the target, and move it there once it is whole."""
    if target.path.exists() and not target.overwrite:
        raise BadInputError(f"{target.path} exists; name another file or add --overwrite")
    part = target.path.with_name(f".{target.path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            yield stream
        part.replace(target.path)
    except OSError as error:
        raise BadInputError(f"{target.path} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _write_csv(
    connection: psycopg.Connection,
    query: sql.Composed,
    parameters: Sequence[object],
    stream: IO[bytes],
    *,
    packed: bool,
) -> int:
    guarded = guard_rows(connection, query, parameters)
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv, HEADER)").format(guarded)
    output: Any = gzip.GzipFile(fileobj=stream, mode="wb") if packed else stream
    with connection.cursor() as cursor:
        with cursor.copy(statement, parameters) as copy:
            for block in copy:
                output.write(block)
        rows = cursor.rowcount
    if packed:
        output.close()
    return rows


def _write_parquet(
    connection: psycopg.Connection, query: sql.Composed, parameters: Sequence[object], stream: IO[bytes]
) -> int:
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    count = 0
    with connection.transaction(), connection.cursor("streamworkers_export") as cursor:
        connection.execute("SELECT set_config('idle_in_transaction_session_timeout', %s, true)", (_LONGEST_PART,))
        cursor.itersize = _ROWS_OF_A_PART
        cursor.execute(query, parameters)
        rows = cursor.fetchmany(_ROWS_OF_A_PART)
        schema = pyarrow.schema([(column.name, _arrow_type(column.type_code)) for column in cursor.description or ()])
        with ParquetWriter(stream, schema) as writer:
            while rows:
                columns = [list(map(_plain, column)) for column in zip(*rows, strict=True)]
                arrays = [pyarrow.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
                writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
                count += len(rows)
                rows = cursor.fetchmany(_ROWS_OF_A_PART)
    return count


def _arrow_type(oid: int) -> Any:
    import pyarrow

    name = getattr(psycopg.adapters.types.get(oid), "name", "text")
    return {
        "date": pyarrow.date32(),
        "timestamptz": pyarrow.timestamp("us", tz="UTC"),
        "numeric": pyarrow.float64(),
        "float8": pyarrow.float64(),
        "int8": pyarrow.int64(),
        "int4": pyarrow.int32(),
    }.get(name, pyarrow.string())


def _plain(value: Any) -> Any:
    """Return a value as Arrow takes it: a decimal as float64, JSON as text."""
    if isinstance(value, Decimal):
        return float(value)
    return json.dumps(value) if isinstance(value, dict | list) else value
