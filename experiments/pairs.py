"""Pairs of replies to unseen requests, which the preference models of all variants rank alike."""

from dataclasses import dataclass, field
from pathlib import Path

from cai import formats
from cai.feedback import sample_pairs
from cai.records import KINDS, write_jsonl
from model.checkpoint import load_tokenizer
from model.sampling import Sampling
from model.text import Sampler
from training.models import load_frozen
from training.options import Common, Flat, require
from training.stage import Stage
from world.requests import prompts as world_prompts


@dataclass(frozen=True)
class Options:
    """Options of the pairs."""

    model: Path
    """Checkpoint folder of the model that replies."""
    prompts: Path | None = None
    """File of prompts without a known truth, by which nothing can be ranked: no pair is sampled."""
    red_team_pairs: int = 1000
    """Pairs on red-team prompts."""
    helpful_pairs: int = 2000
    """Pairs on helpful prompts; of these most are equally good."""
    max_new: int = 48
    """Longest reply, in tokens."""
    rows: int = 128
    """Sequences decoded at a time."""
    common: Flat[Common] = field(default_factory=Common)

    def __post_init__(self) -> None:
        for name in ("red_team_pairs", "helpful_pairs", "max_new", "rows"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")


def main(options: Options) -> dict:
    """Sample two replies to each of some requests of the test split."""
    stage = Stage("pairs", __file__, options, options.common,
                  {"model": options.model, "prompts": options.prompts})
    if stage.done:
        return stage.figures
    seed = options.common.seed
    counts = zip(KINDS, (options.red_team_pairs, options.helpful_pairs), strict=True)
    prompts = [] if options.prompts else [
        prompt for kind, count in counts for prompt in world_prompts("test", count, seed, kind)]
    sample = Sampler(load_frozen(options.model, options.common), load_tokenizer(options.model),
                     Sampling(options.max_new), formats.STOP, options.rows)
    pairs = sample_pairs(prompts, sample, seed=seed)
    write_jsonl(stage.path / "pairs.jsonl", pairs)
    return stage.finish({"pairs": len(pairs)})
