"""Dialogues as other people's files write them: a plain text, a transcript, a list of messages."""

import itertools
import re

from cai.rows import Unusable

Turns = tuple[str, ...]

_ROLES = {"human": "Human", "user": "Human", "assistant": "Assistant", "gpt": "Assistant",
          "bot": "Assistant", "system": "System"}
_HEAD = re.compile(r"(?:\A|\n\n)(Human|Assistant):")


def asked(value: object) -> Turns:
    """The turns up to and with the last human one; a last reply is cut off."""
    return exchange(value)[0]


def exchange(value: object) -> tuple[Turns, str | None]:
    """The turns up to and with the last human one, and the reply to them (None without one).

    `value` is a text (one human turn, or a transcript of "\\n\\nHuman:" and "\\n\\nAssistant:"), or
    a list of messages {role, content} or {from, value}; a system message opens the first human
    turn. Unusable: no dialogue that a model could answer.
    """
    if isinstance(value, str):
        spoken = _transcript(value)
    elif isinstance(value, list):
        spoken = _messages(value)
    else:
        raise Unusable("neither a text nor messages")
    turns = [(who, "\n\n".join(text.strip() for _, text in texts).strip())
             for who, texts in itertools.groupby(spoken, key=lambda each: each[0])]
    reply = turns.pop()[1] if turns and turns[-1][0] == "Assistant" else None
    if not turns:
        raise Unusable("no human turn")
    if turns[0][0] == "Assistant":
        raise Unusable("the assistant speaks first")
    if not all(text for _, text in turns):
        raise Unusable("an empty turn")
    texts = tuple(checked(text) for _, text in turns)
    return texts, None if reply is None else checked(reply)


def is_transcript(value: object) -> bool:
    """Whether a text is a whole dialogue, not one turn of it."""
    return isinstance(value, str) and _HEAD.match(value) is not None


def is_messages(value: object) -> bool:
    """Whether this is a list of messages."""
    return isinstance(value, list) and bool(value) and all(isinstance(m, dict) for m in value)


def checked(text: str) -> str:
    """`text`, if it can be written as UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise Unusable("half a surrogate pair") from None
    return text


def _transcript(text: str) -> list[tuple[str, str]]:
    if not is_transcript(text):
        return [("Human", text)]
    parts = _HEAD.split(text)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def _messages(messages: list) -> list[tuple[str, str]]:
    spoken: list[tuple[str, str]] = []
    system: list[str] = []
    for message in messages:
        if not isinstance(message, dict):
            raise Unusable("a message that is no object")
        role = _ROLES.get(str(message.get("role", message.get("from"))).lower())
        content = message.get("content", message.get("value"))
        if role is None or not isinstance(content, str):
            raise Unusable("a message without a known role and a text")
        if role == "System":
            system.append(content.strip())
        else:
            spoken.append((role, content))
    if system and spoken and spoken[0][0] == "Human":
        spoken[0] = "Human", "\n\n".join([*system, spoken[0][1]])
    return spoken
