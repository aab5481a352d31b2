"""What stands beside a tokenizer: its special and added tokens, and the chat template."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from model.errors import CheckpointError

FILES = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
         "chat_template.jinja", "generation_config.json")
_ROLES = ("bos_token", "eos_token", "pad_token", "unk_token")


@dataclass(frozen=True)
class SpecialTokens:
    """Names of the tokens that play a role, ids of added tokens, and how text is prefixed.

    `legacy`: a space is put before every stretch of text between special tokens, not the first
    alone. `opens`: whether a text begins with the begin token; None where the files do not say.
    """

    names: dict[str, str] = field(default_factory=dict)  # "bos_token" -> "<s>"
    added: dict[str, int] = field(default_factory=dict)  # text -> id
    special: frozenset[str] = frozenset()  # those of `added` that no text decodes to
    legacy: bool = False
    prefixes: bool = True
    opens: bool | None = None
    template: str | None = None


def read_special_tokens(folder: Path) -> SpecialTokens:
    """The special tokens of a checkpoint folder; defaults for every file that is not there.

    Raises CheckpointError, naming the file, where one holds something else.
    """
    config, roles, added_tokens = (_object(folder / name) for name in FILES[:3])
    names = {role: text for role in _ROLES
             if (text := _content(config.get(role, roles.get(role)))) is not None}
    added, special = {}, set()
    try:
        added |= {str(text): int(number) for text, number in added_tokens.items()}
        for number, token in (config.get("added_tokens_decoder") or {}).items():
            added[token["content"]] = int(number)
            if token.get("special", False):
                special.add(token["content"])
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{folder / FILES[0]}: found an added token that does not fit "
                              f"({error!r}), expected its content and id") from None
    return SpecialTokens(names, added, frozenset(special | {*names.values()}),
                         bool(config.get("legacy", False)),
                         config.get("add_prefix_space") is not False,
                         config.get("add_bos_token"), _template(folder, config))


def padding(candidates: list[int], end: int) -> int:
    """The first id that is there and is not the end token: padding never ends a sequence."""
    return next(number for number in (*candidates, 0, 1) if number not in (-1, end))


def _template(folder: Path, config: dict) -> str | None:
    path = folder / "chat_template.jinja"
    try:
        if path.exists():
            return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: found no text ({error}), expected a template") from None
    template = config.get("chat_template")
    if isinstance(template, list):  # several, by name
        named = {each.get("name"): each.get("template") for each in template
                 if isinstance(each, dict)}
        template = named.get("default")
    if template is not None and not isinstance(template, str):
        raise CheckpointError(f"{folder / FILES[0]}: found chat_template of type "
                              f"{type(template).__name__}, expected a text")
    return template


def _content(token: object) -> str | None:
    """A token's text, which stands alone or in an object of its properties."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _object(path: Path) -> dict:
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: found no JSON ({error}), expected an object") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: found {type(value).__name__}, expected an object")
    return value
