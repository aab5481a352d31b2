"""Talk to any checkpoint: a line is a human turn; an empty line or the end of input ends."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cai import formats
from cai.keys import noise_key
from cai.records import InputError
from model.checkpoint import load_tokenizer
from model.sampling import Sampling
from model.text import Sampler
from training.models import load_frozen
from training.options import Common, Flat, require, start


@dataclass(frozen=True)
class Options:
    """Options of a conversation."""

    model: Path
    """Checkpoint folder of the model to talk to."""
    prompt: str | None = None
    """Answer this once, and end."""
    temperature: float = 1.0
    """Sampling temperature; 0 takes the likeliest token."""
    max_new: int = 48
    """Longest reply, in tokens."""
    common: Flat[Common] = field(default_factory=Common)

    def __post_init__(self) -> None:
        require(self.temperature >= 0, "temperature", self.temperature, "0 or more")
        require(self.max_new >= 1, "max_new", self.max_new, "1 or more")
        require(self.prompt is None or bool(self.prompt.strip()), "prompt", "an empty text",
                "a text")


def recent(turns: list[str], fits: Callable[[str], bool]) -> list[str]:
    """The most recent turns that fit, beginning and ending with a human turn.

    InputError where the last human turn alone is too long.
    """
    while not fits(formats.reply_prompt(turns)):
        if len(turns) == 1:
            raise InputError("found a turn longer than the model's context, expected a shorter one")
        turns = turns[2:]
    return turns


def main(options: Options) -> None:
    """Talk to a checkpoint."""
    model = load_frozen(options.model, options.common)
    tokenizer = load_tokenizer(options.model)
    room = model.config.context - options.max_new
    require(room >= 1, "max_new", options.max_new, f"less than the context, {model.config.context}")
    sample = Sampler(model, tokenizer, Sampling(options.max_new, options.temperature),
                     formats.STOP)
    turns: list[str] = []

    def reply(line: str) -> str:
        turns[:] = recent([*turns, line], lambda text: len(tokenizer.encode(text)) <= room)
        key = noise_key(options.common.seed, "chat", len(turns), line)
        turns.append(sample([formats.reply_prompt(turns)], [key])[0])
        return turns[-1]

    if options.prompt is not None:
        print(reply(options.prompt.strip()))
        return
    prompting = sys.stdin.isatty()
    while line := read_line(prompting):
        print(reply(line), flush=True)


def read_line(prompting: bool) -> str:
    """The next human turn; empty at the end."""
    try:
        return input("Human: " if prompting else "").strip()
    except EOFError:
        return ""


if __name__ == "__main__":
    start(main, Options, (InputError,))
