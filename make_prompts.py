"""Write more prompts from a file of examples, few-shot, by a pre-trained model (section 3.2)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cai.keys import noise_key
from cai.more_prompts import END, list_of, make_prompts, usable_examples
from cai.readers import read_prompts
from cai.records import InputError, write_jsonl
from model.checkpoint import load_tokenizer
from model.sampling import Sampling
from model.text import Sampler
from training.models import load_frozen
from training.options import Common, Flat, require, start
from training.stage import Stage


@dataclass(frozen=True)
class Options:
    """Options of the stage that writes prompts."""

    model: Path
    """Checkpoint folder of the pre-trained model that writes."""
    prompts: Path
    """File of prompts that are shown as examples; of these, those of one turn and one paragraph."""
    kind: Literal["red_team", "helpful"] = "red_team"
    """What the examples are, and what is written."""
    count: int = 1000
    """New prompts, at most (the paper, for RL: 491,142 red-team and 474,300 helpful)."""
    tries: int = 4
    """Samples for each prompt wanted, at most."""
    shown: int = 8
    """Examples in the list that each sample continues, drawn anew."""
    words: tuple[int, int] = (3, 80)
    """Fewest and most words of a prompt, written or shown."""
    similarity: float = 0.7
    """Jaccard similarity of word pairs from which a prompt counts as a copy of another."""
    max_new: int = 120
    """Longest prompt, in tokens; what has not ended by then is left out."""
    temperature: float = 1.0
    """Sampling temperature (the paper: 1 always)."""
    rows: int = 128
    """Sequences decoded at a time."""
    common: Flat[Common] = field(default_factory=Common)

    def __post_init__(self) -> None:
        for name in ("count", "tries", "shown", "max_new", "rows"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(1 <= self.words[0] <= self.words[1], "words", self.words, "1 <= fewest <= most")
        require(0 < self.similarity <= 1, "similarity", self.similarity, "above 0, at most 1")
        require(self.temperature >= 0, "temperature", self.temperature, "0 or more")


def main(options: Options) -> dict:
    """Write more prompts of one kind from examples of it."""
    stage = Stage("make_prompts", __file__, options, options.common,
                  {"model": options.model, "prompts": options.prompts})
    if stage.done:
        return stage.figures
    seed = options.common.seed
    examples = usable_examples(read_prompts(options.prompts, kind=options.kind), options.words[1])
    if len(examples) < options.shown:
        raise InputError(f"{options.prompts}: found {len(examples)} prompts of one turn, one "
                         f"paragraph and at most {options.words[1]} words, expected at least "
                         f"--shown, {options.shown}")
    tokenizer = load_tokenizer(options.model)
    model = load_frozen(options.model, options.common)
    longest = sorted((prompt.turns[0] for prompt in examples),
                     key=lambda text: len(tokenizer.encode(text)))[-options.shown:]
    needed = len(tokenizer.encode(list_of(longest, options.kind))) + options.max_new
    require(needed <= model.config.context, "shown", options.shown,
            f"fewer or shorter examples: they may take {needed} tokens, the model's context is "
            f"{model.config.context} (--words bounds them)")
    tries = options.count * options.tries
    with stage.log(tries, unit="text") as log:
        sampler = Sampler(model, tokenizer, Sampling(options.max_new, options.temperature), (END,),
                          options.rows, log.advanced)

        def write(lists: list[str], keys: list[str]) -> list[str | None]:
            return [sampler.text(each) if each.ended else None
                    for each in sampler.complete(lists, keys)]

        made, left_out = make_prompts(
            examples, write, seed=seed, count=options.count, tries=tries, batch=options.rows * 4,
            shown=options.shown, words=options.words, similarity=options.similarity,
            noise=lambda number: noise_key(seed, number))
    if not made:
        raise InputError(f"{options.model}: found no usable prompt in {tries} samples "
                         f"({dict(left_out)}), expected some")
    write_jsonl(stage.path / "prompts.jsonl", made)
    return stage.finish({"prompts": len(made), "left_out": dict(left_out)})


if __name__ == "__main__":
    start(main, Options, (InputError,))
