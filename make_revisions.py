"""Sample responses and revise them: the supervised data of Constitutional AI (section 3.1).

A helpful-only model answers red-team prompts, criticises its answer under a principle drawn anew
at each step, and revises it. On helpful prompts it only answers.
"""

from dataclasses import dataclass, field
from pathlib import Path

from cai import formats
from cai.constitution import load_constitution
from cai.critique_revision import make_chains
from cai.readers import read_prompts
from cai.records import InputError, write_jsonl
from model.checkpoint import load_model, load_tokenizer
from model.generate import Sampling
from model.text import Sampler
from training.log import Log
from training.options import Common, Flat, device_of, fused, require, start
from training.stage import Stage
from world.requests import prompts as world_prompts


@dataclass(frozen=True)
class Options:
    """Options of the critique-revision stage."""

    model: Path
    """Checkpoint folder of the helpful-only model that answers, criticises and revises."""
    constitution: Path = Path("constitutions/small.toml")
    """Constitution whose principles are drawn."""
    red_team: Path | None = None
    """File of red-team prompts; without it the embedded world's."""
    helpful: Path | None = None
    """File of helpful prompts; without it the embedded world's."""
    red_team_prompts: int = 800
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
    temperature: float = 1.0
    """Sampling temperature (the paper: 1 always)."""
    rows: int = 256
    """Sequences decoded at a time."""
    common: Flat[Common] = field(default_factory=Common)

    def __post_init__(self) -> None:
        require(self.steps >= 0, "steps", self.steps, "0 or more")
        require(self.red_team_prompts >= 0, "red_team_prompts", self.red_team_prompts, "0 or more")
        require(self.helpful_draws >= 1, "helpful_draws", self.helpful_draws, "1 or more")
        require(self.temperature >= 0, "temperature", self.temperature, "0 or more")
        require(self.max_new >= 1, "max_new", self.max_new, "1 or more")


def main(options: Options) -> dict:
    """Answer prompts, and criticise and revise the answers to red-team prompts."""
    stage = Stage("make_revisions", __file__, options, options.common,
                  {"model": options.model, "constitution": options.constitution,
                   "red_team": options.red_team, "helpful": options.helpful})
    if stage.done:
        return stage.figures
    seed = options.common.seed
    constitution = load_constitution(options.constitution)
    red_team = (read_prompts(options.red_team, options.red_team_prompts) if options.red_team
                else world_prompts("cai", options.red_team_prompts, seed, "red_team"))
    helpful = (read_prompts(options.helpful, options.helpful_prompts, "helpful")
               if options.helpful
               else world_prompts("cai", options.helpful_prompts, seed, "helpful"))
    device = device_of(options.common)
    tokenizer = load_tokenizer(options.model)
    model = fused(load_model(options.model, device=device), options.common)
    texts = (len(red_team) * (1 + options.steps * (1 + options.critiques))
             + len(helpful) * options.helpful_draws)
    with Log(stage.path, "make_revisions", texts, options.common.log, unit="text") as log:
        sample = Sampler(model, tokenizer, Sampling(options.max_new, options.temperature),
                         formats.STOP, options.rows, log.advanced)
        chains = make_chains(red_team, constitution, sample, seed=seed, steps=options.steps,
                             critiques=options.critiques, examples=options.few_shot)
        answers = make_chains(helpful, constitution, sample, seed=seed, steps=0,
                              draws=options.helpful_draws)
    write_jsonl(stage.path / "revisions.jsonl", [*chains, *answers])
    return stage.finish({"chains": len(chains), "helpful": len(answers)})


if __name__ == "__main__":
    start(main, Options, (InputError,))
