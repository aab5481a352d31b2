"""Sample responses and revise them: the supervised data of Constitutional AI (section 3.1).

A helpful-only model answers red-team prompts, criticises its answer under a principle drawn anew
at each step, and revises it. On helpful prompts it only answers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cai import formats
from cai.constitution import Constitution, load_constitution
from cai.critique_revision import longest_step, make_chains
from cai.readers import read_fitting
from cai.records import InputError, Prompt, write_jsonl
from model.checkpoint import AnyTokenizer, load_tokenizer
from model.sampling import Sampling
from model.text import Sampler
from model.transformer import Transformer
from training.models import load_frozen
from training.options import Common, Flat, require, start
from training.stage import Stage
from world.requests import prompts as world_prompts


@dataclass(frozen=True)
class Options:
    """Options of the critique-revision stage."""

    model: Path
    """Checkpoint folder of the helpful-only model that answers, criticises and revises."""
    critic: Path | None = None
    """Checkpoint folder of another model that criticises in its place, with its own tokenizer."""
    constitution: Path = Path("constitutions/small.toml")
    """Constitution whose principles are drawn."""
    red_team: Path | None = None
    """File of red-team prompts; without it the embedded world's."""
    helpful: Path | None = None
    """File of helpful prompts; without it the embedded world's."""
    red_team_prompts: int = 1000
    """Number of red-team prompts, at most."""
    helpful_prompts: int = 1000
    """Number of helpful prompts, at most."""
    helpful_draws: int = 2
    """Responses a helpful prompt (the paper: 2)."""
    steps: int = 4
    """Critiques and revisions a red-team prompt (the paper: 4)."""
    critiques: bool = True
    """Criticise before revising; without it revisions are asked for directly (section 3.5)."""
    few_shot: bool = False
    """Show the constitution's worked examples first; the world's model has read such examples."""
    max_new: int = 48
    """Longest response, critique or revision, in tokens."""
    temperature: float = 0.7
    """Sampling temperature (the paper: 1); the next stage would teach a small model its slips."""
    rows: int = 128
    """Sequences decoded at a time."""
    common: Flat[Common] = field(default_factory=Common)

    def __post_init__(self) -> None:
        for name in ("steps", "red_team_prompts", "helpful_prompts", "temperature"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        for name in ("helpful_draws", "max_new", "rows"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")


def fits(kind: str, options: Options, constitution: Constitution, tokenizer: AnyTokenizer,
         context: int) -> Callable[[Sequence[str]], bool]:
    """Tells whether a dialogue with all that is written about it fits the context, each text at its
    longest.
    """
    def length(text: str) -> int:
        return len(tokenizer.encode(text))

    room = context - options.max_new
    if kind == "red_team" and options.steps:
        room -= longest_step(constitution, length, options.critiques, options.few_shot)
        room -= options.max_new * (1 + options.critiques)
    return lambda turns: length(formats.reply_prompt(turns)) <= room


def loaded(folder: Path, common: Common) -> tuple[Transformer, AnyTokenizer]:
    """The model in a checkpoint folder and its tokenizer."""
    return load_frozen(folder, common), load_tokenizer(folder)


def main(options: Options) -> dict:
    """Answer prompts, and criticise and revise the answers to red-team prompts."""
    stage = Stage("make_revisions", __file__, options, options.common,
                  {"model": options.model, "critic": options.critic,
                   "constitution": options.constitution, "red_team": options.red_team,
                   "helpful": options.helpful})
    if stage.done:
        return stage.figures
    seed = options.common.seed
    constitution = load_constitution(options.constitution)
    if options.steps and not constitution.revisions:
        raise InputError(f"{options.constitution}: found no principle, expected [[revision]]")
    writer = loaded(options.model, options.common)
    critic = loaded(options.critic, options.common) if options.critic else writer

    def prompts(file: Path | None, count: int, kind: str) -> list[Prompt]:
        if file is None:
            return world_prompts("cai", count, seed, kind)
        either = [fits(kind, options, constitution, tokenizer, model.config.context)
                  for model, tokenizer in (writer, critic)]
        return read_fitting(file, lambda turns: all(fit(turns) for fit in either), count, kind)

    red_team = prompts(options.red_team, options.red_team_prompts, "red_team")
    helpful = prompts(options.helpful, options.helpful_prompts, "helpful")
    texts = (len(red_team) * (1 + options.steps * (1 + options.critiques))
             + len(helpful) * options.helpful_draws)
    with stage.log(texts, unit="text") as log:
        sample, criticise = (
            Sampler(*each, Sampling(options.max_new, options.temperature), formats.STOP,
                    options.rows, log.advanced) for each in (writer, critic))
        chains = make_chains(red_team, constitution, sample, seed=seed, steps=options.steps,
                             critiques=options.critiques, examples=options.few_shot,
                             criticise=criticise)
        answers = make_chains(helpful, constitution, sample, seed=seed, steps=0,
                              draws=options.helpful_draws)
    write_jsonl(stage.path / "revisions.jsonl", [*chains, *answers])
    return stage.finish({"chains": len(chains), "helpful": len(answers)})


if __name__ == "__main__":
    start(main, Options, (InputError,))
