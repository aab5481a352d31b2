"""Reading a Polis export: statements, and who voted how on them.

Both generations of headers are read, and either file of votes. The identity that an outer system
gave a participant (`xid`) is passed over here, so it can reach no output.
"""

import csv
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from cai.records import InputError

VOTES = {"1": 1.0, "-1": -1.0, "0": 0.0, "": np.nan}
MODERATED = {"1": 1, "0": 0, "-1": -1}
PUBLISHED = ("group-aware-consensus", "group-informed-consensus")
"""Names under which newer exports carry Polis' own group-aware consensus."""


@dataclasses.dataclass(frozen=True)
class Statement:
    """One statement. `moderated`: 1 accepted, 0 not looked at, -1 rejected."""

    id: str
    text: str
    author: str
    moderated: int = 1
    published: float | None = None  # the export's own group-aware consensus


@dataclasses.dataclass(frozen=True)
class Conversation:
    """P participants, S statements and the votes (P, S) float32: 1 agree, -1 disagree, 0 pass,
    NaN not seen. `groups` are the export's own group ids, None where it gives none."""

    path: Path
    statements: tuple[Statement, ...]
    participants: tuple[str, ...]
    votes: np.ndarray
    groups: tuple[str | None, ...]

    def kept(self, participants: np.ndarray, statements: np.ndarray) -> "Conversation":
        """The part at two boolean masks, (P,) and (S,)."""
        people, columns = np.flatnonzero(participants), np.flatnonzero(statements)
        return Conversation(
            self.path, tuple(self.statements[i] for i in columns),
            tuple(self.participants[i] for i in people), self.votes[np.ix_(people, columns)],
            tuple(self.groups[i] for i in people))


def read_polis(folder: str | Path) -> Conversation:
    """Read `comments.csv` and `participants-votes.csv`, or else `votes.csv`, of an export.

    Statements come in the order of their ids. InputError names the file and the row of any defect.
    """
    folder = Path(folder)
    statements = _read_statements(folder / "comments.csv")
    table = folder / "participants-votes.csv"
    people, votes, groups = (_read_table(table, statements) if table.exists()
                             else _read_log(folder / "votes.csv", statements))
    return Conversation(folder, statements, people, votes, groups)


def read_ids(path: str | Path) -> frozenset[str]:
    """The participant ids of a file, one a line, without a header."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: found no readable text ({error}), expected ids") from error
    ids = [line.strip() for line in lines]
    for number, each in enumerate(ids, start=1):
        if each and not each.isdigit():
            raise InputError.at(path, number, repr(each), "one participant id a line")
    return frozenset(filter(None, ids))


def _rows(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """(line, cells) of the header, then of every row; all rows are as wide as the header.

    The line is the row's last, where a text holds line breaks.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            head = next(reader, [])
            for name in needed:
                if name not in head:
                    raise InputError.at(path, 1, f"no column {name!r}", f"{', '.join(needed)}")
            yield reader.line_num, head
            for row in reader:
                if len(row) != len(head):
                    raise InputError.at(path, reader.line_num, f"{len(row)} cells",
                                        f"{len(head)}, as in the header")
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: found no readable CSV ({why}), expected a file of a Polis "
                         "export") from error


def _taken(path: Path, line: int, value: str, known: Mapping, what: str, expected: str) -> object:
    if value not in known:
        raise InputError.at(path, line, f"{what} {value!r}", expected)
    return known[value]


def _read_statements(path: Path) -> tuple[Statement, ...]:
    rows = _rows(path, ("comment-id", "author-id", "moderated", "comment-body"))
    _, head = next(rows)
    read: dict[str, Statement] = {}
    for line, row in rows:
        cells = dict(zip(head, row, strict=True))
        name = cells["comment-id"]
        if not name.isdigit() or name in read:
            raise InputError.at(path, line, f"statement id {name!r}", "a number of its own")
        published = next((cells[key] for key in PUBLISHED if cells.get(key)), None)
        try:
            published = None if published is None else float(published)
        except ValueError:
            raise InputError.at(path, line, f"consensus {published!r}", "a number") from None
        moderated = _taken(path, line, cells["moderated"], MODERATED, "moderated", "-1, 0 or 1")
        read[name] = Statement(name, cells["comment-body"].strip(), cells["author-id"], moderated,
                               published)
    return tuple(sorted(read.values(), key=lambda statement: int(statement.id)))


def _read_table(path: Path, statements: Sequence[Statement]
                ) -> tuple[tuple[str, ...], np.ndarray, tuple[str | None, ...]]:
    """A row a participant, a column a statement; statements without a column were never shown."""
    rows = _rows(path, ("participant",))
    _, head = next(rows)
    place = {statement.id: column for column, statement in enumerate(statements)}
    voted = [column for column, name in enumerate(head) if name.isdigit()]
    to = [_taken(path, 1, head[column], place, "a column of statement", "the id of a comment")
          for column in voted]
    at_group = head.index("group-id") if "group-id" in head else None
    people: dict[str, str | None] = {}
    read = []
    for line, row in rows:
        name = row[head.index("participant")]
        if name in people:
            raise InputError.at(path, line, f"participant {name} again", "each participant once")
        people[name] = (row[at_group] or None) if at_group is not None else None
        votes = np.full(len(statements), np.nan, dtype=np.float32)
        try:
            votes[to] = [VOTES[row[column]] for column in voted]
        except KeyError:
            wrong = next(column for column in voted if row[column] not in VOTES)
            raise InputError.at(path, line, f"vote {row[wrong]!r} on statement {head[wrong]}",
                                "-1, 0, 1 or nothing") from None
        read.append(votes)
    shaped = np.array(read, dtype=np.float32).reshape(len(people), len(statements))
    return tuple(people), shaped, tuple(people.values())


def _read_log(path: Path, statements: Sequence[Statement]
              ) -> tuple[tuple[str, ...], np.ndarray, tuple[str | None, ...]]:
    """A row a vote, in time: where someone votes twice on a statement, the last counts."""
    rows = _rows(path, ("comment-id", "voter-id", "vote"))
    _, head = next(rows)
    columns = [head.index(name) for name in ("comment-id", "voter-id", "vote")]
    place = {statement.id: column for column, statement in enumerate(statements)}
    last: dict[str, dict[int, float]] = {}
    for line, row in rows:
        statement, voter, vote = (row[column] for column in columns)
        at = _taken(path, line, statement, place, "a vote on statement", "the id of a comment")
        last.setdefault(voter, {})[at] = _taken(path, line, vote, VOTES, "vote",
                                                "-1, 0, 1 or nothing")
    people = sorted(last, key=lambda name: (len(name), name))
    votes = np.full((len(people), len(statements)), np.nan, dtype=np.float32)
    for row, name in enumerate(people):
        votes[row, list(last[name])] = list(last[name].values())
    return tuple(people), votes, (None,) * len(people)
