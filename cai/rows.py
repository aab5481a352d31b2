"""Rows of a data file of any known format, found by its content: CSV, JSON, JSON Lines, text lines.

gzip is known by its first bytes; UTF-8 with or without a byte order mark; any line ends.
"""

import csv
import dataclasses
import gzip
import io
import json
import zlib
from pathlib import Path

from cai.records import InputError

MAX_BYTES = 1 << 31
_GZIP = b"\x1f\x8b"


class Unusable(Exception):
    """A row that is no record of the kind asked for; the message is the reason that is counted."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """`format`: "text", "csv", "json" or "jsonl", and "+gzip". A row is a text or an object."""

    format: str
    rows: list[object]


def read_rows(path: str | Path, columns: frozenset[str] | None) -> Rows:
    """All rows of a file; a CSV file is one whose header has one of `columns` (lower case).

    With None it is one that is so named, whatever its columns. InputError, with the line, for a
    file that is absent, empty, not UTF-8, or breaks off.
    """
    return parse_rows(Path(path), *read_text(Path(path)), columns)


def parse_rows(path: Path, text: str, packed: bool, columns: frozenset[str] | None) -> Rows:
    """As `read_rows`, of a text that `read_text` has read."""
    form, rows = _parse(path, text, columns)
    return Rows(form + ("+gzip" if packed else ""), rows)


def lowered(row: object) -> dict[str, object]:
    """A row's fields by their names in lower case; none where the row is no object."""
    items = row.items() if isinstance(row, dict) else ()
    return {str(name).lower(): value for name, value in items}


def read_text(path: Path) -> tuple[str, bool]:
    """The text of a file without its byte order mark, and whether it was packed by gzip.

    InputError as for `read_rows`.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP
            file.seek(0)
            source = gzip.GzipFile(fileobj=file) if packed else file
            data = source.read(MAX_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError.at(path, 1, f"broken gzip ({error})", "a whole gzip file") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise InputError.at(path, 1, "more than 2 GiB of text", "a smaller file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError.at(path, line, f"byte 0x{data[error.start]:02x}", "UTF-8") from error
    if not text.strip():
        raise InputError.at(path, 1, "an empty file", "at least one row")
    return text, packed


def _parse(path: Path, text: str, columns: frozenset[str] | None) -> tuple[str, list[object]]:
    suffixes = {suffix.lower() for suffix in path.suffixes}
    if text.lstrip()[0] in "{[":
        try:
            return _json(path, text)
        except InputError:
            if ".txt" not in suffixes:
                raise
    elif suffixes & {".json", ".jsonl"}:
        raise InputError.at(path, 1, f"{text.lstrip()[:20]!r}", "JSON, which starts with { or [")
    if (table := _csv(path, text, columns, forced=bool(suffixes & {".csv", ".tsv"}))) is not None:
        return "csv", table
    lines = (line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    return "text", [line for line in lines if line]


def _json(path: Path, text: str) -> tuple[str, list[object]]:
    """One JSON value (a list of rows, an object of columns, or one row), or a value a line."""
    first_line = text.lstrip().split("\n", 1)[0]
    try:
        json.loads(first_line)
        lines = True
    except (ValueError, RecursionError):
        lines = False
    if lines and text.strip() != first_line.strip():
        return "jsonl", [_value(path, line, number)
                         for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    whole = _value(path, text, 1)
    if isinstance(whole, list):
        return "json", whole
    if _is_table(whole):
        return "json", _columns_to_rows(whole)
    return ("jsonl" if ".jsonl" in path.suffixes else "json"), [whole]


def _value(path: Path, text: str, line: int) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError.at(path, line + error.lineno - 1, f"no JSON ({error.msg})",
                            "a JSON value") from error
    except (ValueError, RecursionError) as error:
        raise InputError.at(path, line, f"JSON beyond limits ({error})", "plain JSON") from error


def _is_table(value: object) -> bool:
    """Whether a lone object holds columns; lists of objects are messages, so it is one row then."""
    return isinstance(value, dict) and bool(value) and all(
        isinstance(column, list) and not any(isinstance(cell, dict) for cell in column)
        for column in value.values())


def _columns_to_rows(table: dict[str, list]) -> list[object]:
    """{"instructions": [...], "inputs": [...]} as rows; a plural name becomes the singular one."""
    longest = max(map(len, table.values()))
    return [{name.removesuffix("s"): column[i] for name, column in table.items() if i < len(column)}
            for i in range(longest)]


def _csv(path: Path, text: str, columns: frozenset[str] | None,
         forced: bool) -> list[object] | None:
    """Rows as dicts by lower-case column name; None where the header has none of `columns`."""
    delimiter = "\t" if "\t" in text.split("\n", 1)[0] else ","
    limit = csv.field_size_limit(len(text) + 1)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    try:
        header = [name.strip().lower() for name in next(reader)]
        known = forced if columns is None else bool(columns & set(header))
        if not known:
            if forced:
                raise InputError.at(path, 1, f"columns {header[:12]}", f"one of {sorted(columns)}")
            return None
        return [dict(zip(header, row, strict=False)) for row in reader if row]
    except csv.Error as error:
        if not forced and not header:
            return None
        raise InputError.at(path, reader.line_num, f"no CSV ({error})", "quotes closed") from error
    finally:
        csv.field_size_limit(limit)
