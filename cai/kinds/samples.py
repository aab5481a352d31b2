"""Samples that were published of other models: a dialogue and the replies drawn to it."""

import dataclasses

from cai.dialogues import Turns, asked, checked
from cai.rows import Unusable, lowered

FIELDS = frozenset({"sampled_answers", "cst"})


@dataclasses.dataclass(frozen=True)
class Samples:
    """Replies to one dialogue; of a chain of revisions, the first response and each revision."""

    turns: Turns
    replies: tuple[str, ...]


def claims(row: object) -> bool:
    """Whether a row holds a dialogue with sampled replies or a chain of revisions."""
    return bool(FIELDS & lowered(row).keys())


def read(row: object) -> Samples:
    """The dialogue and replies of a row. Unusable: a part is missing."""
    if not isinstance(row, dict):
        raise Unusable("no object")
    turns = asked(row.get("rl_prompt"))
    if "sampled_answers" in row:
        replies = [_at(each, "sampled_string") for each in _listed(row["sampled_answers"])]
    else:
        replies = [_at(each, "sample") for each in _listed(row.get("initial_response"))]
        replies += [_at(_at(step, "revision"), "sample") for step in _listed(row.get("cst"))]
    if not replies:
        raise Unusable("no sampled reply")
    if not all(isinstance(reply, str) for reply in replies):
        raise Unusable("a sampled reply that is no text")
    return Samples(turns, tuple(checked(reply.strip()) for reply in replies))


def _listed(value: object) -> list:
    return value if isinstance(value, list) else []


def _at(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None
