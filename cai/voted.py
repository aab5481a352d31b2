"""Answers with votes, for preference-model pretraining (Askell et al. 2021).

A line of the file is {"prompt": text, "answers": [{"text", "votes", "accepted" (optional)}, ...]}.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from cai.records import InputError


@dataclass(frozen=True)
class Answer:
    """One answer, its votes (up less down) and whether the asker accepted it."""

    text: str
    votes: int
    accepted: bool = False


@dataclass(frozen=True)
class VotedAnswers:
    """A dialogue that ends on a human turn, and at least two answers to it."""

    turns: tuple[str, ...]
    answers: tuple[Answer, ...]


def read_voted(path: Path) -> list[VotedAnswers]:
    """Every question of `path`, JSON Lines. InputError names the line that does not fit."""
    wanted = '{"prompt": text, "answers": [{"text": text, "votes": number}, two or more]}'
    read = []
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: found no readable text ({error}), expected JSON Lines") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            answers = tuple(Answer(str(each["text"]), int(each["votes"]),
                                   bool(each.get("accepted", False))) for each in row["answers"])
            question = VotedAnswers((str(row["prompt"]),), answers)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError.at(path, number, f"{type(error).__name__} {error}", wanted) from None
        if len(answers) < 2:
            raise InputError.at(path, number, f"{len(answers)} answers", wanted)
        read.append(question)
    if not read:
        raise InputError(f"{path}: found no question, expected at least one")
    return read
