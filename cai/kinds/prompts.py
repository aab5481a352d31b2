"""Prompts: dialogues that wait for the assistant."""

import dataclasses

from cai.dialogues import Turns, asked, is_messages, is_transcript
from cai.rows import Unusable, lowered

TEXT_FIELDS = ("prompt", "instruction", "goal", "question", "behavior", "forbidden_prompt")
MESSAGE_FIELDS = ("messages", "conversations")
DIALOGUE_FIELDS = ("chosen", "rejected")
TURNS_FIELD = "turns"  # texts that alternate, as this project's own files have them
FIELDS = frozenset((*TEXT_FIELDS, *MESSAGE_FIELDS, *DIALOGUE_FIELDS, TURNS_FIELD))


@dataclasses.dataclass(frozen=True)
class Asked:
    """A dialogue that ends on a human turn."""

    turns: Turns


def claims(row: object) -> bool:
    """Whether a row looks like a prompt: a text, messages, or an object with a field of one."""
    return isinstance(row, str) or is_messages(row) or bool(FIELDS & lowered(row).keys())


def read(row: object) -> Asked:
    """The prompt of a row. Unusable: there is none."""
    return Asked(turns_of(row))


def turns_of(row: object) -> Turns:
    """The dialogue of a row, cut to end on a human turn. Unusable: there is none."""
    if isinstance(row, (str, list)):
        return asked(row)
    if not isinstance(row, dict):
        raise Unusable("neither a text nor an object")
    fields = lowered(row)
    if isinstance(texts := fields.get(TURNS_FIELD), list):
        return asked([{"role": ("user", "assistant")[n % 2], "content": text}
                      for n, text in enumerate(texts)])
    for name in (*MESSAGE_FIELDS, *TEXT_FIELDS, *DIALOGUE_FIELDS):
        value = fields.get(name)
        if isinstance(value, list) and value:
            return asked(value)
        if isinstance(value, str) and value.strip():
            if name in DIALOGUE_FIELDS and not is_transcript(value):
                raise Unusable("a reply without its dialogue")
            return asked(with_context(fields, name, value))
    raise Unusable("no prompt in the row")


def with_context(fields: dict[str, object], name: str, value: str) -> str:
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
