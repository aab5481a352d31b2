"""Readers of data files that others made: found by content, each row checked, none lost in silence.

`python -m cai.readers FILE [--as KIND]` prints what a file holds as one JSON object.
"""

import argparse
import collections
import dataclasses
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cai import published
from cai.constitution import Constitution, load_constitution
from cai.kinds import choices, comparisons, prompts, samples
from cai.kinds.comparisons import Judged
from cai.records import Comparison, InputError, Prompt, record_id
from cai.rows import Unusable, parse_rows, read_text

PEEK = 100  # rows that are looked at to find a file's kind
_TOML = re.compile(r"^\[\[(revision|feedback|critique_example|feedback_example|reasoning_example)",
                   re.MULTILINE)

# Those that ask for more stand first: a comparison by chosen and rejected is also a prompt.
CLAIMS: dict[str, Callable[[object], bool]] = {
    "choices": choices.claims, "constitution": published.claims, "samples": samples.claims,
    "comparisons": comparisons.claims, "prompts": prompts.claims}
READ: dict[str, Callable[[object], object]] = {
    "choices": choices.read, "samples": samples.read, "comparisons": comparisons.read,
    "prompts": prompts.read, "rows": lambda row: row}
KINDS = (*CLAIMS, "rows")
COLUMNS = frozenset().union(*(kind.FIELDS for kind in (choices, samples, comparisons, prompts)))


@dataclasses.dataclass(frozen=True)
class Found:
    """What a file held. rows = used + the sum of skipped, unless a limit stopped the reading."""

    kind: str
    format: str
    rows: int
    skipped: dict[str, int]
    records: list

    def summary(self) -> dict[str, object]:
        """The JSON object that the command prints."""
        first = self.records[0]
        return {"kind": self.kind, "format": self.format, "rows": self.rows,
                "used": len(self.records), "skipped": self.skipped,
                "first": dataclasses.asdict(first) if dataclasses.is_dataclass(first) else first}


def find(path: str | Path, kind: str | None = None, limit: int | None = None) -> Found:
    """The records of a file, at most `limit`, one a usable row; its kind is found by its content.

    Records: Asked, Judged or VotedAnswers, Choice, Samples, published.Part; with kind "rows"
    whatever stands there, unchecked. InputError: no such file, broken, of no kind, or without a
    usable row.
    """
    path = Path(path)
    text, packed = read_text(path)
    if kind in (None, "constitution") and not packed and _TOML.search(text):
        return _toml(path)
    table = parse_rows(path, text, packed, None if kind == "rows" else COLUMNS)
    rows = published.entries(table.rows) if kind in (None, "constitution") else table.rows
    kind = kind or _kind_of(path, rows)
    read = READ.get(kind)
    skipped: collections.Counter[str] = collections.Counter()
    records: list[object] = []
    for number, row in enumerate(rows):
        if limit is not None and len(records) >= limit:
            break
        try:
            records.append(read(row) if read else published.read(row, number))
        except Unusable as reason:
            skipped[str(reason)] += 1
    if not records:
        raise InputError.at(path, 1, f"no usable {kind.removesuffix('s')} "
                            f"({dict(skipped) or 'no rows'})", "at least one")
    return Found(kind, table.format, len(rows), dict(skipped), records)


def _kind_of(path: Path, rows: Sequence[object]) -> str:
    """The kind that claims the first row that is claimed at all."""
    for row in rows[:PEEK]:
        for kind, claims in CLAIMS.items():
            if claims(row):
                return kind
    fields = sorted({name for row in rows[:PEEK] if isinstance(row, dict) for name in row})[:20]
    raise InputError.at(path, 1, f"no usable row with fields {fields}",
                        f"fields of one kind of {', '.join(CLAIMS)} (see docs/data.md)")


def _toml(path: Path) -> Found:
    """A constitution of ours, entry by entry."""
    constitution = load_constitution(path)
    parts = [published.Part(field.name, value) for field in dataclasses.fields(Constitution)
             for value in getattr(constitution, field.name)]
    return Found("constitution", "toml", len(parts), {}, parts)


def tell_skipped(path: str | Path, found: Found) -> None:
    """Say on stderr how many rows of a file could not be used, and why; nothing where all were."""
    if found.skipped:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in found.skipped.items())
        print(f"{path}: left out {sum(found.skipped.values())} of {found.rows} rows: {reasons}",
              file=sys.stderr)


def read_prompts(path: str | Path, limit: int | None = None, kind: str = "red_team"
                 ) -> list[Prompt]:
    """The prompts of a file, at most `limit`, each a dialogue that ends on a human turn.

    Ids depend on the text, the kind and, for equal prompts, on which of them it is. Rows that are
    no prompts are told on stderr. InputError: no such file, broken, or no usable row.
    """
    found = find(path, "prompts", limit)
    tell_skipped(path, found)
    seen: collections.Counter[tuple[str, ...]] = collections.Counter()
    read = []
    for asked in found.records:
        number = record_id("prompt", [kind, *asked.turns], 0, seen[asked.turns])
        read.append(Prompt(number, asked.turns, kind))
        seen[asked.turns] += 1
    return read


def read_fitting(path: str | Path, fits: Callable[[Sequence[str]], bool],
                 limit: int | None = None, kind: str = "red_team") -> list[Prompt]:
    """The prompts of a file whose turns are short enough by `fits`, at most `limit`.

    How many were left out on the way is told on stderr; InputError where none fits.
    """
    return _fitting(path, read_prompts(path, kind=kind), fits, limit, "prompts")


def read_comparisons(path: str | Path, limit: int | None = None, kind: str = "helpful",
                     fits: Callable[[Sequence[str]], bool] = lambda turns: True
                     ) -> list[Comparison]:
    """The comparisons of a file that people labelled, at most `limit` with turns that fit.

    Rows that cannot be used are told on stderr. InputError as for `find`, or where none fits.
    """
    found = find(path, "comparisons")
    tell_skipped(path, found)
    judged = [each for each in found.records if isinstance(each, Judged)]
    if not judged:
        raise InputError.at(path, 1, "answers with votes alone", "two replies a row")
    return [Comparison(record_id("people", [kind, *each.turns, *each.responses], 0, number),
                       record_id("prompt", [kind, *each.turns], 0, 0), each.turns, kind, 0, number,
                       each.responses, each.labels)
            for number, each in enumerate(_fitting(path, judged, fits, limit, "comparisons"))]


def _fitting(path: str | Path, records: list, fits: Callable[[Sequence[str]], bool],
             limit: int | None, what: str) -> list:
    kept, seen = [], 0
    for record in records:
        if limit is not None and len(kept) >= limit:
            break
        seen += 1
        if fits(record.turns):
            kept.append(record)
    if seen and not kept:
        raise InputError(f"{path}: found no {what.removesuffix('s')} that fits the model's context "
                         "with all that is to be written, expected at least one (a smaller "
                         "--max-new leaves room)")
    if len(kept) < seen:
        print(f"{path}: left out {seen - len(kept)} of {seen} {what}, longer than the model's "
              "context allows", file=sys.stderr)
    return kept


def main(arguments: list[str] | None = None) -> int:
    """Print what a file holds as one JSON object; a bad file gets one line and exit status 2."""
    parser = argparse.ArgumentParser(prog="python -m cai.readers", description=main.__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--as", dest="kind", choices=KINDS,
                        help="what the file is read as (default: found by its content)")
    options = parser.parse_args(arguments)
    try:
        found = find(options.file, options.kind)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    text = json.dumps(found.summary(), ensure_ascii=False)
    # Half a surrogate pair, which --as rows lets through, is printed as JSON writes it.
    print(text.encode("utf-8", "backslashreplace").decode("utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
