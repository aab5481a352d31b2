"""Readers of data files that others made: one a kind, each row checked, none dropped in silence.

`python -m cai.readers FILE [--as KIND]` prints what a file holds as one JSON object.
"""

import argparse
import collections
import dataclasses
import itertools
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cai.records import InputError, Prompt, record_id
from cai.rows import read_rows

TEXT_FIELDS = ("prompt", "instruction", "goal", "question", "behavior", "forbidden_prompt")
MESSAGE_FIELDS = ("messages", "conversations")
DIALOGUE_FIELDS = ("chosen", "rejected")

_ROLES = {"human": 0, "user": 0, "assistant": 1, "gpt": 1, "bot": 1, "system": 2}
_HEAD = re.compile(r"(?:\A|\n\n)(Human|Assistant):")


class Unusable(Exception):
    """A row that holds no prompt; the message is the reason that is counted."""


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
        first = dataclasses.asdict(self.records[0])
        return {"kind": self.kind, "format": self.format, "rows": self.rows,
                "used": len(self.records), "skipped": self.skipped, "first": first}


def read_prompts(path: str | Path, limit: int | None = None, kind: str = "red_team"
                 ) -> list[Prompt]:
    """The prompts of a file, at most `limit`, each a dialogue that ends on a human turn.

    Formats: text lines; JSON, JSON Lines or CSV with a field of TEXT_FIELDS (an instruction's
    `input` and a behaviour's `ContextString` join it), with messages, or with chosen and rejected
    dialogues, which are cut before the last reply. Ids depend on the text, the kind and, for equal
    prompts, on which of them it is. InputError: no such file, broken, or no usable row.
    """
    return find_prompts(path, limit, kind).records


def read_fitting(path: str | Path, fits: Callable[[Sequence[str]], bool],
                 limit: int | None = None, kind: str = "red_team") -> list[Prompt]:
    """The prompts of a file whose turns are short enough by `fits`, at most `limit`.

    How many were left out on the way is told on stderr; InputError where none fits.
    """
    kept: list[Prompt] = []
    seen = 0
    for prompt in read_prompts(path, kind=kind):
        if limit is not None and len(kept) >= limit:
            break
        seen += 1
        if fits(prompt.turns):
            kept.append(prompt)
    if seen and not kept:
        raise InputError(f"{path}: found no prompt that fits the model's context with all that is "
                         "to be written, expected at least one (a smaller --max-new leaves room)")
    if len(kept) < seen:
        print(f"{path}: left out {seen - len(kept)} of {seen} prompts, longer than the model's "
              "context allows", file=sys.stderr)
    return kept


def find_prompts(path: str | Path, limit: int | None = None, kind: str = "red_team") -> Found:
    """The same with the counts of rows, and of unusable ones by reason."""
    known = frozenset((*TEXT_FIELDS, *MESSAGE_FIELDS, *DIALOGUE_FIELDS))
    table = read_rows(path, known)
    skipped: collections.Counter[str] = collections.Counter()
    seen: collections.Counter[tuple[str, ...]] = collections.Counter()
    prompts: list[Prompt] = []
    for row in table.rows:
        if limit is not None and len(prompts) >= limit:
            break
        try:
            turns = _checked(_turns_of_row(row))
        except Unusable as reason:
            skipped[str(reason)] += 1
            continue
        number = record_id("prompt", [kind, *turns], 0, seen[turns])
        seen[turns] += 1
        prompts.append(Prompt(number, turns, kind))
    if not prompts:
        raise InputError.at(path, 1, f"no usable prompt ({dict(skipped) or 'no rows'})",
                            "at least one")
    return Found("prompts", table.format, len(table.rows), dict(skipped), prompts)


READERS: dict[str, Callable[[str | Path], Found]] = {"prompts": find_prompts}


def _turns_of_row(row: object) -> tuple[str, ...]:
    if isinstance(row, str):
        return _turns_of_text(row)
    if isinstance(row, list):
        return _turns_of_messages(row)
    if not isinstance(row, dict):
        raise Unusable("neither a text nor an object")
    fields = {str(name).lower(): value for name, value in row.items()}
    for name in (*MESSAGE_FIELDS, *TEXT_FIELDS, *DIALOGUE_FIELDS):
        value = fields.get(name)
        if isinstance(value, list) and value:
            return _turns_of_messages(value)
        if isinstance(value, str) and value.strip():
            if name in DIALOGUE_FIELDS and not _HEAD.match(value):
                raise Unusable("a reply without its dialogue")
            return _turns_of_text(_with_context(fields, name, value))
    raise Unusable("no prompt in the row")


def _with_context(fields: dict[str, object], name: str, value: str) -> str:
    """An instruction followed by its input; a behaviour preceded by its context."""
    if name == "behavior" and (context := _text(fields.get("contextstring"))):
        return f"{context}\n\n{value.strip()}"
    if name == "instruction":
        given = _text(fields.get("input"))
        instances = fields.get("instances")
        if isinstance(instances, list) and instances and isinstance(instances[0], dict):
            given = given or _text(instances[0].get("input"))
        return f"{value.strip()}\n\n{given}" if given else value
    return value


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _turns_of_text(text: str) -> tuple[str, ...]:
    """A plain text is one human turn; a transcript is cut before its last reply."""
    if not _HEAD.match(text):
        return (text.strip(),)
    parts = _HEAD.split(text)
    return _cut(list(zip(parts[1::2], parts[2::2], strict=True)))


def _turns_of_messages(messages: list) -> tuple[str, ...]:
    """Messages of {role, content} or {from, value}; a system message opens the first human turn."""
    spoken: list[tuple[str, str]] = []
    system = ""
    for message in messages:
        if not isinstance(message, dict):
            raise Unusable("a message that is no object")
        role = _ROLES.get(str(message.get("role", message.get("from"))).lower())
        content = message.get("content", message.get("value"))
        if role is None or not isinstance(content, str):
            raise Unusable("a message without a known role and a text")
        if role == 2:
            system = f"{system}{content.strip()}\n\n"
        else:
            spoken.append((("Human", "Assistant")[role], content))
    turns = _cut(spoken)
    return (system + turns[0], *turns[1:])


def _cut(spoken: list[tuple[str, str]]) -> tuple[str, ...]:
    """The turns up to and with the last human one; one speaker's texts in a row are one turn."""
    turns = [(who, "\n\n".join(text.strip() for _, text in texts).strip())
             for who, texts in itertools.groupby(spoken, key=lambda each: each[0])]
    if turns and turns[-1][0] == "Assistant":
        turns.pop()
    if not turns:
        raise Unusable("no human turn")
    if turns[0][0] == "Assistant":
        raise Unusable("the assistant speaks first")
    return tuple(text for _, text in turns)


def _checked(turns: tuple[str, ...]) -> tuple[str, ...]:
    if not all(turns):
        raise Unusable("an empty turn")
    try:
        "".join(turns).encode("utf-8")
    except UnicodeEncodeError:
        raise Unusable("half a surrogate pair") from None
    return turns


def main(arguments: list[str] | None = None) -> int:
    """Print what a file holds as one JSON object; a bad file gets one line and exit status 2."""
    parser = argparse.ArgumentParser(prog="python -m cai.readers", description=main.__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--as", dest="kind", choices=sorted(READERS), default="prompts",
                        help="what the file is read as")
    options = parser.parse_args(arguments)
    try:
        found = READERS[options.kind](options.file)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(found.summary(), ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
