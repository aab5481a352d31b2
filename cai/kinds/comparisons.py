"""Comparisons: two replies to one dialogue and what people thought; or answers with votes."""

import dataclasses

from cai.dialogues import Turns, asked, checked, exchange, is_messages, is_transcript
from cai.kinds import prompts
from cai.records import Label
from cai.rows import Unusable, lowered

PAIRS = ({"chosen", "rejected"}, {"response1", "response2"}, {"output_1", "output_2"})
FIELDS = frozenset().union(*PAIRS)
_TEXTS = ("text", "answer", "body", "content")
_VOTES = ("votes", "score", "upvotes", "vote")
_ACCEPTED = ("accepted", "selected", "is_accepted")


@dataclasses.dataclass(frozen=True)
class Judged:
    """Two replies to a dialogue that ends on a human turn, with one label a person."""

    turns: Turns
    responses: tuple[str, str]
    labels: tuple[Label, ...]


@dataclasses.dataclass(frozen=True)
class Answer:
    """One answer, its votes (up less down) and whether the asker accepted it."""

    text: str
    votes: int
    accepted: bool = False


@dataclasses.dataclass(frozen=True)
class VotedAnswers:
    """A dialogue that ends on a human turn, and at least two answers to it."""

    turns: Turns
    answers: tuple[Answer, ...]


def claims(row: object) -> bool:
    """Whether a row holds two replies, or several answers."""
    fields = lowered(row)
    return any(pair <= fields.keys() for pair in PAIRS) or is_messages(fields.get("answers"))


def read(row: object) -> Judged | VotedAnswers:
    """The comparison of a row. Unusable: a part is missing, or nothing is compared."""
    if not isinstance(row, dict):
        raise Unusable("no object")
    fields = lowered(row)
    if {"chosen", "rejected"} <= fields.keys():
        found = _chosen(fields)
    elif {"response1", "response2"} <= fields.keys():
        found = _annotated(fields)
    elif {"output_1", "output_2"} <= fields.keys():
        found = _labelled(fields)
    elif "answers" in fields:
        return _voted(fields)
    else:
        raise Unusable("no two replies in the row")
    if found.responses[0] == found.responses[1]:
        raise Unusable("two equal replies")
    return found


def _chosen(fields: dict[str, object]) -> Judged:
    """The better reply first: whole dialogues, or replies beside their dialogue."""
    sides = [_side(fields, name) for name in ("chosen", "rejected")]
    if sides[0][0] != sides[1][0]:
        raise Unusable("two dialogues that differ before the last reply")
    return Judged(sides[0][0], (sides[0][1], sides[1][1]), (Label("people", 1.0),))


def _side(fields: dict[str, object], name: str) -> tuple[Turns, str]:
    value = fields[name]
    if is_transcript(value) or is_messages(value) and len(value) > 1:
        turns, reply = exchange(value)
        if reply is None:
            raise Unusable("a dialogue without a last reply")
        return turns, reply
    if is_messages(value):
        value = value[0]
    if isinstance(value, dict):
        value = value.get("content", value.get("value"))
    return _dialogue(fields), _reply(value)


def _dialogue(fields: dict[str, object]) -> Turns:
    """The dialogue that stands beside the replies."""
    held = {name: value for name, value in fields.items() if name not in prompts.DIALOGUE_FIELDS}
    if not prompts.FIELDS & held.keys() and isinstance(fields.get("input"), str):
        return asked(fields["input"])
    return prompts.turns_of(held)


def _annotated(fields: dict[str, object]) -> Judged:
    """response1 and response2 with one verdict an annotator: 1 or 2 is better, 0 is a tie."""
    preferences = {"0": 0.5, "1": 1.0, "2": 0.0}
    verdicts = [str(value) for name, value in sorted(fields.items())
                if name.startswith("annotator")]
    if not verdicts:
        raise Unusable("no annotator")
    if not preferences.keys() >= {*verdicts}:
        raise Unusable("an annotator's verdict other than 0, 1 or 2")
    labels = tuple(Label("people", preferences[verdict]) for verdict in verdicts)
    return Judged(_dialogue(fields), _replies(fields, "response1", "response2"), labels)


def _labelled(fields: dict[str, object]) -> Judged:
    """output_1 and output_2 with the number of the better one as label."""
    label = str(fields.get("label"))
    if label not in ("1", "2"):
        raise Unusable("a label other than 1 or 2")
    return Judged(_dialogue(fields), _replies(fields, "output_1", "output_2"),
                  (Label("people", float(label == "1")),))


def _replies(fields: dict[str, object], first: str, second: str) -> tuple[str, str]:
    return _reply(fields[first]), _reply(fields[second])


def _reply(value: object) -> str:
    """A reply, which may be empty; a number or a truth value may stand without its quotes."""
    if not isinstance(value, (str, int, float)):
        raise Unusable("no two replies in the row")
    return checked(str(value).strip())


def _voted(fields: dict[str, object]) -> VotedAnswers:
    answers = fields["answers"]
    if not is_messages(answers) or len(answers) < 2:
        raise Unusable("fewer than two answers")
    return VotedAnswers(_dialogue(fields), tuple(_answer(lowered(each)) for each in answers))


def _answer(fields: dict[str, object]) -> Answer:
    text = next((fields[name] for name in _TEXTS if isinstance(fields.get(name), str)), None)
    if text is None or not text.strip():
        raise Unusable("an answer without a text")
    if (score := _whole(fields.get("pm_score"))) is not None and score < 64:
        # Votes that the score rule turns into this score, in which acceptance is counted.
        return Answer(checked(text.strip()), 2**score - 1 if score >= 0 else -1)
    votes = next((n for name in _VOTES if (n := _whole(fields.get(name))) is not None), None)
    if votes is None:
        raise Unusable("an answer without votes")
    accepted = any(fields.get(name) is True for name in _ACCEPTED)
    return Answer(checked(text.strip()), votes, accepted)


def _whole(value: object) -> int | None:
    """A number of votes as an integer; None for anything else, or for what is no such number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 2**53:
        return None
    return int(value)
