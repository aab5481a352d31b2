"""Train preference models on comparisons: Bradley-Terry with soft targets (sections 4.1, 4.2).

Two are trained: one on the larger part of the comparisons, which PPO maximises, and one on the
rest, which says when PPO should have stopped.
"""

import dataclasses
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from cai import formats
from cai.records import Comparison, InputError, read_jsonl
from cai.targets import target
from cai.voted import Answer, VotedAnswers, read_voted
from model.adapters import LoRA, branch
from model.batches import in_parts, random_steps
from model.checkpoint import load_model, load_tokenizer, save_model
from model.heads import ScalarModel
from model.sharing import families, pack_alike
from model.text import PreferenceScorer
from model.tokenizer import Tokenizer
from rl.preference import (
    accuracy,
    binarised,
    bradley_terry_loss,
    mixture_weights,
    vote_score,
    voted_pairs,
)
from training.log import Log
from training.models import fused, precision, trunk_dtype
from training.optimizer import clip_gradients, fine_tuning, linear, take_step
from training.options import Common, Flat, device_of, require, start
from training.stage import Stage
from world.corpus import voted

GOOD, BAD = "\n\nHuman: good", "\n\nHuman: bad"  # what binarised answers are headed by


@dataclass(frozen=True)
class Options:
    """Options of preference-model training."""

    model: Path
    """Checkpoint folder of the pre-trained model that the preference model starts from."""
    comparisons: Path
    """Labelled pairs, as make_comparisons.py writes them."""
    targets: Literal["soft", "hard", "clamped"] = "soft"
    """How a model's labels become targets (section 4.3)."""
    clamp: tuple[float, float] = (0.4, 0.6)
    """Range of clamped targets (the paper: 0.4 to 0.6 with reasoning)."""
    harmlessness_weight: float = 1.5
    """Loss weight of a harmlessness comparison."""
    helpfulness_weight: float = 1.0
    """Loss weight of a helpfulness comparison."""
    held_out: float = 0.25
    """Share of the comparisons kept for the held-out preference model."""
    shuffle_labels: bool = False
    """Permute the AI's labels among red-team pairs: the control whose PPO should learn nothing."""
    pretrain: str = "none"
    """Preference-model pretraining on voted answers first: a file of them, or world."""
    pretrain_answers: int = 2000
    """Questions of the world's pretraining."""
    optimizer: Literal["adamw", "muon"] = "muon"
    """Muon suits the small world; for a real model, adamw with a rate of its own."""
    rate: float = 0.012
    """Peak learning rate; linear warm-up, then linear decay to a tenth."""
    epochs: int = 2
    """Passes over the comparisons (the paper: 1)."""
    batch_pairs: int = 32
    """Comparisons a step."""
    accumulate: int = 1
    """Parts that a step is computed in, one after another: less memory, the same step."""
    lora: Flat[LoRA] = LoRA()
    """Adapters that are trained in place of the model itself."""
    common: Flat[Common] = field(default_factory=Common)

    def __post_init__(self) -> None:
        require(0 < self.held_out < 1, "held_out", self.held_out, "a share between 0 and 1")
        require(0 <= self.clamp[0] <= self.clamp[1] <= 1, "clamp", self.clamp,
                "0 <= low <= high <= 1")
        require(not self.lora.lora_rank or self.optimizer == "adamw", "optimizer", self.optimizer,
                "adamw for adapters")
        require(self.rate > 0, "rate", self.rate, "a positive number")
        for name in ("epochs", "batch_pairs", "pretrain_answers", "accumulate"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("harmlessness_weight", "helpfulness_weight"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")


@dataclass(frozen=True)
class Pair:
    """A comparison as tokens, the end-of-context token last, with its target and weight."""

    first: list[int]
    second: list[int]
    target: float
    weight: float


def tokenised(comparisons: list[Comparison], options: Options, scorer: PreferenceScorer,
              ) -> list[Pair]:
    """Comparisons as token pairs; those of two equal replies say nothing and are left out."""
    comparisons = [c for c in comparisons if c.responses[0] != c.responses[1]]
    targets = [target(c.labels, options.targets, *options.clamp) for c in comparisons]
    if options.shuffle_labels:
        asked = [n for n, c in enumerate(comparisons) if c.kind == "red_team"]
        moved = [targets[n] for n in asked]
        random.Random(options.common.seed).shuffle(moved)
        for n, value in zip(asked, moved, strict=True):
            targets[n] = value
    weights = mixture_weights([c.kind for c in comparisons],
                              {"red_team": options.harmlessness_weight,
                               "helpful": options.helpfulness_weight}).tolist()
    return [Pair(*(scorer.encode(f"{formats.reply_prompt(c.turns)} {reply}")
                   for reply in c.responses), aim, weight)
            for c, aim, weight in zip(comparisons, targets, weights, strict=True)]


def pretraining_pairs(options: Options, scorer: PreferenceScorer) -> list[Pair]:
    """Pretraining pairs of voted answers, by the vote score, binarised (Askell et al. 2021)."""
    if options.pretrain == "world":
        questions = [VotedAnswers(each.turns, tuple(Answer(*answer) for answer in each.answers))
                     for each in voted("base", options.pretrain_answers, options.common.seed)]
    else:
        questions = read_voted(Path(options.pretrain))
    pairs = []
    for question in questions:
        asked = formats.reply_prompt(question.turns)
        scored = [vote_score(answer.votes, answer.accepted) for answer in question.answers]
        for better, worse in voted_pairs(scored):
            texts = [f"{asked} {question.answers[n].text}" for n in (better, worse)]
            pairs += [Pair(scorer.encode(a), scorer.encode(b), 1.0, 1.0)
                      for a, b in binarised(*texts, GOOD, BAD)]
    return pairs


def scores(model: ScalarModel, pairs: list[Pair], options: Options,
           device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores (N,) of the first and of the second replies; what a pair begins with is read once."""
    rows = [*(pair.first for pair in pairs), *(pair.second for pair in pairs)]
    together = [[n + len(pairs) * k for k in family] for n, pair in enumerate(pairs)
                for family in families([pair.first, pair.second])]
    groups, places = pack_alike(rows, together, device)
    last = torch.tensor([places[n][-1] for n in range(len(rows))], device=device)
    with precision(options.common):
        return model.score_groups(groups, last).float().chunk(2)


def fit(model: ScalarModel, pairs: list[Pair], options: Options, device: torch.device,
        log: Log, first_step: int) -> int:
    """Train `model` on `pairs`; return the number of the step after the last."""
    generator = torch.Generator().manual_seed(options.common.seed)
    optimizers = fine_tuning(model, options.optimizer, options.rate)
    lengths = [len(pair.first) + len(pair.second) for pair in pairs]
    size = round(options.batch_pairs * sum(lengths) / len(lengths))
    steps = [step for _ in range(options.epochs)
             for step in random_steps(lengths, size, generator)]
    for step, members in enumerate(steps):
        seen, total = [], 0.0
        for part in in_parts(members, options.accumulate):
            chosen = [pairs[n] for n in part]
            first, second = scores(model, chosen, options, device)
            aims = torch.tensor([pair.target for pair in chosen], device=device)
            weights = torch.tensor([pair.weight for pair in chosen], device=device)
            loss = bradley_terry_loss(first, second, aims, weights)
            loss = loss * (len(part) / len(members))
            loss.backward()
            total += loss.item()
            seen.append((first.detach(), second.detach(), aims))
        norm = clip_gradients(model.parameters(), 1.0)
        take_step(optimizers, linear(step, len(steps), 10, 0.1))
        log.write(first_step + step, loss=total, gradient_norm=norm,
                  accuracy=accuracy(*(torch.cat(each) for each in zip(*seen, strict=True))))
    return first_step + len(steps)


@torch.no_grad()
def measure(model: ScalarModel, pairs: list[Pair], options: Options,
            device: torch.device) -> tuple[float, float]:
    """Accuracy on unseen pairs and the mean score of their replies."""
    parts = [scores(model, pairs[n:n + 256], options, device) for n in range(0, len(pairs), 256)]
    first, second = (torch.cat(side) for side in zip(*parts, strict=True))
    aims = torch.tensor([pair.target for pair in pairs], device=device)
    return accuracy(first, second, aims), torch.cat((first, second)).mean().item()


def main(options: Options) -> dict:
    """Train the preference model and the held-out one."""
    stage = Stage("train_pm", __file__, options, options.common,
                  {"model": options.model, "comparisons": options.comparisons})
    if stage.done:
        return stage.figures
    device = device_of(options.common)
    tokenizer: Tokenizer = load_tokenizer(options.model)
    comparisons = read_jsonl(options.comparisons, Comparison)
    random.Random(options.common.seed).shuffle(comparisons)
    cut = round(len(comparisons) * options.held_out)
    figures = {}
    parts = {"model": (comparisons[cut:], comparisons[:cut]),
             "held_out": (comparisons[:cut], comparisons[cut:])}
    generator = torch.Generator().manual_seed(options.common.seed)
    trunk = load_model(options.model, trunk_dtype(options.lora, options.common), device)
    scorers = {name: PreferenceScorer(ScalarModel(branch(trunk, options.lora, generator)).to(
        device), tokenizer) for name in parts}
    del trunk  # where these are copies of it, it would be a third
    pairs = {name: tokenised(train, options, scorers[name]) for name, (train, _) in parts.items()}
    if not all(pairs.values()):
        raise InputError(f"{options.comparisons}: found too few pairs of different replies, "
                         "expected some for each of the two preference models")
    steps = options.epochs * sum(map(len, pairs.values())) // options.batch_pairs
    step = 0
    with stage.log(steps) as log:
        for name, (_, unseen) in parts.items():
            model = fused(scorers[name].model, options.common)
            if options.pretrain != "none":
                step = fit(model, pretraining_pairs(options, scorers[name]),
                           dataclasses.replace(options, epochs=1), device, log, step)
            step = fit(model, pairs[name], options, device, log, step)
            figures[f"{name}_accuracy"], mean = measure(
                model, tokenised(unseen, options, scorers[name]), options, device)
            # Only differences of scores are learnt; zero is put at the mean of unseen replies.
            model.head.bias.data -= mean
            save_model(model, stage.path / name, tokenizer)
    return stage.finish(figures)


if __name__ == "__main__":
    start(main, Options, (InputError,))
