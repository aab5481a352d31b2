"""Chat models: dialogues rendered by the model folder's own template, instead of as plain text.

All other code writes dialogues as plain "Human:" and "Assistant:" text. `ChatTokenizer` translates
such a text at the last moment, so every stage works with base and with chat models alike.
"""

import datetime
import json
import re
from collections.abc import Sequence
from pathlib import Path

import jinja2
import jinja2.ext
import jinja2.sandbox

from model.errors import CheckpointError
from model.json_tokenizer import JsonTokenizer
from model.tokenizer import Tokenizer

Message = dict[str, str]
"""{"role": "user" or "assistant", "content": text}."""

# Requests for a critique or a revision are the user's, what follows them the assistant's.
_ROLES = {"Human": "user", "CritiqueRequest": "user", "RevisionRequest": "user",
          "Assistant": "assistant", "Critique": "assistant", "Revision": "assistant"}
_HEAD = re.compile(rf"(?:\A|\n\n)({'|'.join(_ROLES)}):")


class ChatTemplate:
    """A chat template with the conventions of transformers, run in jinja2's sandbox."""

    def __init__(self, source: str, tokens: dict[str, str]):
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
        self.tokens = tokens
        try:
            self.template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise CheckpointError(f"chat template: found {error}, expected jinja2") from None

    def render(self, messages: Sequence[Message], open_reply: bool = True) -> str:
        """The conversation as the model reads it; with `open_reply`, up to where a reply begins.

        Raises CheckpointError with the template's own complaint where it refuses the messages.
        """
        try:
            return self.template.render(messages=list(messages), tools=None, documents=None,
                                        add_generation_prompt=open_reply, **self.tokens)
        except Exception as error:  # a template is a program and may fail in any way
            raise CheckpointError(f"chat template: found {error}, expected messages that it "
                                  "renders") from None


class ChatTokenizer:
    """A tokenizer for which a plain dialogue is its rendering by the model's chat template.

    A text that is no such dialogue (a multiple-choice question, say) stays a plain text.
    """

    def __init__(self, tokenizer: Tokenizer | JsonTokenizer, template: ChatTemplate):
        self.tokenizer, self.template = tokenizer, template
        self.begin, self.end, self.pad = tokenizer.begin, tokenizer.end, tokenizer.pad
        question = {"role": "user", "content": "a"}
        opened = template.render([question])
        closed = template.render([question, {"role": "assistant", "content": "b"}], False)
        # What stands between the opening of a reply and its first word: a space or nothing.
        self.gap = " " if closed.startswith(f"{opened} b") else ""

    @property
    def path(self) -> Path:
        return self.tokenizer.path

    def __len__(self) -> int:
        return len(self.tokenizer)

    def encode_chat(self, messages: Sequence[Message], open_reply: bool = False) -> list[int]:
        """Ids of a conversation; with `open_reply` they end where the assistant's reply begins."""
        return self.tokenizer.encode_rendered(self.template.render(messages, open_reply))

    def encode(self, text: str) -> list[int]:
        """Ids of a text that opens a sequence; a dialogue is rendered, its last reply left open."""
        messages = messages_of(text)
        if messages is None:
            return self.tokenizer.encode(text)
        *asked, last = messages
        ids = self.encode_chat(asked, open_reply=True)
        reply = last["content"]
        return [*ids, *self.tokenizer.encode_more(self.gap + reply)] if reply else ids

    def encode_more(self, text: str, after: str | None = None) -> list[int]:
        """Ids of a text that continues `after` (None: a dialogue, as in all training)."""
        if (after is None or messages_of(after) is not None) and text.startswith(" "):
            text = self.gap + text[1:]
        return self.tokenizer.encode_more(text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; special tokens have none."""
        return self.tokenizer.decode(ids)

    def decode_more(self, ids: Sequence[int]) -> str:
        """The text of ids that continue a sequence: its leading space is kept."""
        return self.tokenizer.decode_more(ids)

    def save(self, folder: Path) -> None:
        """Copy the tokenizer's files, the template among them, into `folder`."""
        self.tokenizer.save(folder)


def messages_of(text: str) -> list[Message] | None:
    """A plain dialogue as messages, the last one the assistant's, perhaps still empty.

    None for a text in which user and assistant do not take turns, from the user on.
    """
    parts = _HEAD.split(text)
    if parts[0] or len(parts) < 5:
        return None
    roles = [_ROLES[head] for head in parts[1::2]]
    if roles != ["user", "assistant"] * (len(roles) // 2):
        return None
    return [{"role": role, "content": said.strip()}
            for role, said in zip(roles, parts[2::2], strict=True)]


def _to_json(value: object, indent: int | None = None, **options: object) -> str:
    """As transformers has it: other letters stay as they are, and nothing is escaped for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent, **options)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
